import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import adjusted_rand_score

from slotcli.evaluation.baselines import grid
from slotcli.evaluation.segmentation import (
    SegmentationScores,
    adjusted_rand_index,
    confusion,
    foreground_ari,
    mean_best_overlap,
    mean_iou,
    segmentation_scores,
)

SHAPE = (2, 5, 6)


def labels(most: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.uint8, SHAPE, elements=st.integers(0, most))


def pairwise_iou(truth: np.ndarray, predicted: np.ndarray, names: list[int]) -> np.ndarray:
    return np.array(
        [
            [
                np.sum((truth == k) & (predicted == n)) / np.sum((truth == k) | (predicted == n))
                for n in np.unique(predicted)
            ]
            for k in names
        ]
    )


def best_assignment(iou: np.ndarray) -> float:
    """Brute force over every one-to-one assignment, spare slots being padded with 0."""
    truths, slots = iou.shape
    padded = np.hstack((iou, np.zeros((truths, max(0, truths - slots)))))
    return max(
        padded[range(truths), list(chosen)].mean()
        for chosen in itertools.permutations(range(padded.shape[1]), truths)
    )


@given(labels(4), labels(6))
@settings(max_examples=60, deadline=None)
def test_rand_index_is_scikit_learns(truth: np.ndarray, predicted: np.ndarray) -> None:
    expected = adjusted_rand_score(truth.ravel(), predicted.ravel())
    assert adjusted_rand_index(confusion(truth, predicted)) == pytest.approx(expected, abs=1e-12)
    seen = truth > 0
    if seen.any():
        expected = adjusted_rand_score(truth[seen], predicted[seen])
        actual = foreground_ari(confusion(truth, predicted))
        assert actual == pytest.approx(expected, abs=1e-12)


@given(labels(3), labels(4))
@settings(max_examples=40, deadline=None)
def test_overlaps_are_those_of_brute_force(truth: np.ndarray, predicted: np.ndarray) -> None:
    counts = confusion(truth, predicted)
    present = np.unique(truth).tolist()
    expected = best_assignment(pairwise_iou(truth, predicted, present))
    assert mean_iou(counts, background=True) == pytest.approx(expected)
    objects = [name for name in present if name]
    if objects:
        iou = pairwise_iou(truth, predicted, objects)
        assert mean_iou(counts, background=False) == pytest.approx(best_assignment(iou))
        assert mean_best_overlap(counts) == pytest.approx(iou.max(1).mean())


def test_confusion_counts_pairs_and_leaves_out_the_outside() -> None:
    truth = np.array([0, 0, 2, 2, 255, 1], np.uint8)
    predicted = np.array([3, 3, 0, 255, 0, 1], np.uint8)
    expected = np.zeros((3, 4), np.int64)
    expected[0, 3], expected[2, 0], expected[1, 1] = 2, 1, 1
    assert np.array_equal(confusion(truth, predicted), expected)


def test_confusion_in_pieces_is_confusion_at_once() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 7, (2, 80, 128, 128), np.uint8)
    counts = confusion(truth, predicted)
    assert counts.sum() == truth.size
    assert np.array_equal(
        counts, sum(confusion(a, b) for a, b in zip(truth, predicted, strict=True))
    )


def test_rand_index_stays_exact_where_products_pass_64_bits() -> None:
    counts = np.diag(np.array([10**9, 10**9], np.int64))
    assert adjusted_rand_index(counts) == 1.0
    counts[0, 1] = 1
    assert 0.999999 < adjusted_rand_index(counts) < 1.0


def test_undefined_rand_index_is_one() -> None:
    one_object = np.ones((1, 4, 4), np.uint8)
    assert foreground_ari(confusion(one_object, one_object)) == 1.0
    singles = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    assert adjusted_rand_index(confusion(singles, singles)) == 1.0


def test_scores_of_a_perfect_and_of_a_permuted_prediction_are_one() -> None:
    truth = np.random.default_rng(0).integers(0, 4, (3, 8, 8), np.uint8)
    names = np.array([2, 9, 0, 5], np.uint8)
    assert segmentation_scores(truth, names[truth]) == SegmentationScores(1.0, 1.0, 1.0, 1.0, 1.0)


def test_scores_without_foreground_or_without_any_pixel_are_none() -> None:
    ground = np.zeros((2, 4, 4), np.uint8)
    assert segmentation_scores(ground, ground) == SegmentationScores(None, 1.0, 1.0, None, None)
    outside = np.full((2, 4, 4), 255, np.uint8)
    nothing = SegmentationScores(None, None, None, None, None)
    assert segmentation_scores(outside, ground) == nothing


def test_best_overlap_lets_a_slot_serve_twice_and_iou_does_not() -> None:
    truth = np.array([[[1, 2, 0, 0]]], np.uint8)
    predicted = np.array([[[4, 4, 3, 3]]], np.uint8)
    scores = segmentation_scores(truth, predicted)
    assert scores.mbo == 0.5
    assert scores.fg_miou == 0.25
    assert scores.miou == 0.5


def test_a_fixed_grid_pleases_foreground_ari_alone(discs) -> None:
    frames, truth = discs(8, t=12, radius=5, seed=1)
    scores = [
        segmentation_scores(clip_truth, grid(clip, 11, 0))
        for clip, clip_truth in zip(frames, truth, strict=True)
    ]
    fg_ari, ari, miou = np.array([(s.fg_ari, s.ari, s.miou) for s in scores], float).mean(0)
    assert fg_ari > 0.4
    assert ari < 0.1
    assert miou < 0.35


def test_confusion_of_a_clip_takes_milliseconds() -> None:
    truth, predicted = np.random.default_rng(0).integers(0, 24, (2, 24, 128, 128), np.uint8)

    def seconds() -> float:
        start = time.perf_counter()
        confusion(truth, predicted)
        return time.perf_counter() - start

    # 2 ms on one idle core; the margin is for busy ones
    assert min(seconds() for _ in range(10)) < 0.02
