from collections.abc import Callable

import numpy as np
import pytest

from slotcli.evaluation import intervals
from slotcli.evaluation.intervals import MeanInterval, figure_interval, mean_interval

Draw = Callable[[np.random.Generator], np.ndarray]


def coverage(draw: Draw, true_mean: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """In how many of 2,000 studies the interval holds the true mean; known to within 0.005."""
    monkeypatch.setattr(intervals, "RESAMPLES", 1000)
    rng = np.random.default_rng(0)
    found = [mean_interval(draw(rng).tolist(), seed=study) for study in range(2000)]
    return float(np.mean([i.low <= true_mean <= i.high for i in found]))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("draw", "true_mean"),
    [
        (lambda rng: rng.beta(2, 5, 64), 2 / 7),  # scores of as many clips as are the default
        (lambda rng: rng.normal(size=16), 0.0),
    ],
    ids=["64 skewed scores", "16 normal values"],
)
def test_interval_covers_the_true_mean_as_often_as_it_says(
    draw: Draw, true_mean: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0.935 < coverage(draw, true_mean, monkeypatch) < 0.965


def test_few_values_widen_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain percentiles of 8 normal values cover in 90 % of studies."""
    assert coverage(lambda rng: rng.normal(size=8), 0.0, monkeypatch) > 0.925


def test_interval_has_the_width_of_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(size=250)
    interval = mean_interval(values.tolist(), seed=0)
    half = 1.96 * values.std() / np.sqrt(250)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_stays_within_the_values() -> None:
    interval = mean_interval([0.0, 0.0, 1.0], seed=0)
    assert (interval.low, interval.high) == (0.0, 1.0)


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


def test_the_interval_of_a_figure_that_is_a_mean_is_that_of_the_mean() -> None:
    values = np.random.default_rng(2).normal(size=12)
    sums = np.stack([values, np.ones(12)], axis=1)
    found = figure_interval(sums, lambda drawn: drawn[:, 0] / drawn[:, 1], seed=3)
    expected = mean_interval(values.tolist(), seed=3)
    assert found.low is not None
    assert found.low == pytest.approx(expected.low)
    assert (found.mean, found.high) == pytest.approx((expected.mean, expected.high))


def test_draws_that_leave_a_figure_undefined_do_not_count() -> None:
    sums = np.array([[1.0, 1.0]] + [[0.0, 0.0]] * 7)
    found = figure_interval(sums, lambda drawn: drawn[:, 0] / drawn[:, 1], seed=0)
    assert (found.mean, found.low, found.high) == (1.0, 1.0, 1.0)
    assert figure_interval(sums[1:], lambda drawn: drawn[:, 0] / drawn[:, 1], seed=0) == (
        MeanInterval(None, None, None, 0, 7)
    )


def test_a_figure_has_no_interval_of_few_clips() -> None:
    five = figure_interval(np.ones((5, 1)), lambda drawn: drawn[:, 0], seed=0)
    assert (five.mean, five.low, five.high) == (5.0, None, None)
    assert figure_interval(np.ones((6, 1)), lambda drawn: drawn[:, 0], seed=0).low == 6.0
