import numpy as np
import pytest

from slotcli.evaluation.intervals import MeanInterval, mean_interval


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    intervals = [mean_interval(rng.exponential(1, 40).tolist(), seed=i) for i in range(40)]
    covered = sum(i.low <= 1 <= i.high for i in intervals)  # type: ignore[operator]
    assert covered >= 33


def test_interval_has_the_width_of_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(size=250)
    interval = mean_interval(values.tolist(), seed=0)
    half = 1.96 * values.std() / np.sqrt(250)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_undefined_values_are_dropped_and_counted() -> None:
    whole = mean_interval([0.1, 0.4, 0.7], seed=0)
    gaps = mean_interval([None, 0.1, 0.4, None, 0.7], seed=0)
    assert (gaps.mean, gaps.low, gaps.high) == (whole.mean, whole.low, whole.high)
    assert (gaps.count, gaps.dropped) == (3, 2)


def test_too_few_values_give_no_interval() -> None:
    assert mean_interval([None], seed=0) == MeanInterval(None, None, None, 0, 1)
    assert mean_interval([0.25], seed=0) == MeanInterval(0.25, None, None, 1, 0)


def test_a_seed_repeats_itself() -> None:
    values = [0.1, 0.5, 0.2, 0.9]
    assert mean_interval(values, seed=4) == mean_interval(values, seed=4)
