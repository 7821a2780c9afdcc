import itertools
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from slotcli.evaluation.baselines import grid
from slotcli.evaluation.segmentation import (
    SegmentationScores,
    adjusted_rand_index,
    confusion,
    foreground_ari,
    kept_identities,
    mean_best_overlap,
    mean_iou,
    scores_per_frame,
    segmentation_scores,
)

SHAPE = (2, 5, 6)
NOTHING = SegmentationScores(None, None, None, None, None)


def cases(count: int = 400) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Truths and predictions of nine kinds in turn, at most 5 labels each."""
    rng = np.random.default_rng(0)
    for number in range(count):
        truth, predicted = rng.integers(0, rng.integers(1, 6, 2)[:, None, None, None], (2, *SHAPE))
        match number % 9:
            case 0:  # everything is background
                truth[:] = 0
            case 1:  # a single object on background
                truth = (truth > 0).astype(int)
            case 2:  # a single object and no background
                truth[:] = 3
            case 3:  # ids with gaps
                truth = np.array([0, 3, 17, 200, 254])[truth]
                predicted = np.array([2, 9, 0, 254, 100])[predicted]
            case 4:  # pixels that are not counted
                truth[:, 0] = 255
                predicted[0, :, 1] = 255
            case 5:  # one slot takes all
                predicted[:] = rng.integers(5)
            case 6:  # the same division, under other names
                predicted = rng.permutation(5)[truth]
            case 7:  # blocks, as objects are
                truth[:, :, :] = (np.arange(5) // 2)[:, None]
                predicted[:, :, :] = np.arange(6) // 2
        yield truth.astype(np.uint8), predicted.astype(np.uint8)


def counted(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    seen = (truth != 255) & (predicted != 255)
    return truth[seen], predicted[seen]


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


@cache
def assignments(truths: int, slots: int) -> np.ndarray:
    return np.array(list(itertools.permutations(range(slots), truths)))


def best_assignment(iou: np.ndarray) -> float:
    """Brute force over every one-to-one assignment, missing slots being padded with 0."""
    truths, slots = iou.shape
    padded = np.hstack((iou, np.zeros((truths, max(0, truths - slots)))))
    chosen = assignments(truths, padded.shape[1])
    return padded[np.arange(truths), chosen].mean(1).max()


def test_rand_indices_are_scikit_learns_in_hundreds_of_cases() -> None:
    for truth, predicted in cases():
        counts = confusion(truth, predicted)
        x, y = counted(truth, predicted)
        assert abs(adjusted_rand_index(counts) - adjusted_rand_score(x, y)) < 1e-9
        front = x > 0
        if front.any():
            expected = adjusted_rand_score(x[front], y[front])
            assert abs(foreground_ari(counts) - expected) < 1e-9  # type: ignore[operator]
        else:
            assert foreground_ari(counts) is None


def test_overlaps_are_those_of_brute_force_in_hundreds_of_cases() -> None:
    for truth, predicted in cases():
        counts = confusion(truth, predicted)
        x, y = counted(truth, predicted)
        present = np.unique(x).tolist()
        expected = best_assignment(pairwise_iou(x, y, present))
        assert mean_iou(counts, background=True) == pytest.approx(expected, abs=1e-12)
        objects = [name for name in present if name]
        if objects:
            iou = pairwise_iou(x, y, objects)
            expected = best_assignment(iou)
            assert mean_iou(counts, background=False) == pytest.approx(expected, abs=1e-12)
            assert mean_best_overlap(counts) == pytest.approx(iou.max(1).mean(), abs=1e-12)
        else:
            assert mean_iou(counts, background=False) is None
            assert mean_best_overlap(counts) is None


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


def test_rand_indices_by_hand() -> None:
    """Of the 6 pairs of 4 pixels the truth holds 2 together, the slots 1, both 1.

    Chance is 2 * 1 / 6 = 1/3, the most is 3/2, so (1 - 1/3) / (3/2 - 1/3) = 4/7. Four pixels of
    background in slot 0 change nothing for the index over the foreground.
    """
    truth, predicted = np.array([[[1, 1, 2, 2]]], np.uint8), np.array([[[0, 0, 1, 2]]], np.uint8)
    scores = segmentation_scores(truth, predicted)
    assert scores.fg_ari == scores.ari == pytest.approx(4 / 7)
    ground = np.zeros((1, 1, 4), np.uint8)
    with_ground = segmentation_scores(
        np.concatenate((truth, ground), 2), np.concatenate((predicted, ground), 2)
    )
    assert with_ground.fg_ari == pytest.approx(4 / 7)
    # 28 pairs: truth 2 + 6, slots 15, both 1 + 6; chance 30/7, most 23/2.
    assert with_ground.ari == pytest.approx((7 - 30 / 7) / (23 / 2 - 30 / 7))


def test_overlaps_by_hand() -> None:
    """Slot 0 has both pixels of object 1 and one of the ground: IoU 2/3 and 1/4; slot 1 is ground.

    Object 2 has lost its pixel to slot 1 (IoU 1/4), which serves the ground better (2/4).
    """
    truth = np.array([[[1, 1, 0, 0, 0, 2]]], np.uint8)
    predicted = np.array([[[0, 0, 0, 1, 1, 1]]], np.uint8)
    scores = segmentation_scores(truth, predicted)
    assert scores.miou == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert scores.fg_miou == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert scores.mbo == pytest.approx((2 / 3 + 1 / 3) / 2)


def test_scores_of_a_perfect_and_of_a_permuted_prediction_are_one() -> None:
    truth = np.random.default_rng(0).integers(0, 4, (3, 8, 8), np.uint8)
    names = np.array([2, 9, 0, 5], np.uint8)
    perfect = SegmentationScores(1.0, 1.0, 1.0, 1.0, 1.0)
    assert segmentation_scores(truth, names[truth]) == perfect
    assert scores_per_frame(truth, names[truth]) == perfect


def test_scores_without_foreground_or_without_any_pixel_are_none() -> None:
    ground = np.zeros((2, 4, 4), np.uint8)
    no_objects = SegmentationScores(None, 1.0, 1.0, None, None)
    assert segmentation_scores(ground, ground) == no_objects
    assert scores_per_frame(ground, ground) == no_objects
    outside = np.full((2, 4, 4), 255, np.uint8)
    assert segmentation_scores(outside, ground) == NOTHING
    assert scores_per_frame(outside, ground) == NOTHING


def test_best_overlap_lets_a_slot_serve_twice_and_iou_does_not() -> None:
    truth = np.array([[[1, 2, 0, 0]]], np.uint8)
    predicted = np.array([[[4, 4, 3, 3]]], np.uint8)
    scores = segmentation_scores(truth, predicted)
    assert scores.mbo == 0.5
    assert scores.fg_miou == 0.25
    assert scores.miou == 0.5


def test_slots_that_swap_objects_cost_nothing_per_frame_and_much_per_video() -> None:
    truth = np.array([[[1, 2]], [[1, 2]]], np.uint8)
    swapped = np.array([[[0, 1]], [[1, 0]]], np.uint8)
    # Every slot shares one pixel with every object: IoU 1/3, and as far below chance as it goes.
    video = segmentation_scores(truth, swapped)
    assert (video.fg_ari, video.fg_miou) == (pytest.approx(-0.5), pytest.approx(1 / 3))
    assert scores_per_frame(truth, swapped) == SegmentationScores(1.0, 1.0, 1.0, 1.0, 1.0)


def test_an_identity_is_kept_by_the_label_of_most_pixels() -> None:
    truth = np.zeros((3, 4, 8), np.uint8)
    truth[:, :2, :2], truth[:, :2, 4:6] = 1, 2
    truth[:, 3, :4], truth[2, 3, 6:] = 3, 4  # the fourth comes too late to be kept
    found = np.zeros_like(truth)
    found[:, :2, :2] = 7
    found[0, 0, 0] = 5  # a part of it
    found[:2, :2, 4:6], found[2, :2, 4:6] = 6, 7  # the second changes hands, the third is not found
    assert kept_identities(truth, found) == pytest.approx(1 / 3)
    assert kept_identities(truth, truth) == 1
    assert kept_identities(truth, np.zeros_like(truth)) == 0
    assert kept_identities(truth[:1], truth[:1]) is None
    assert kept_identities(np.zeros_like(truth), found) is None
    # Frames between do not count, nor does what is outside of the crop.
    found[1] = 1
    found[0, 3] = found[2, 3] = 255
    assert kept_identities(truth, found) == 0.5


def test_per_frame_is_the_mean_over_frames_that_define_a_score() -> None:
    truth = np.array([[[0, 0, 0, 0]], [[1, 2, 0, 0]], [[1, 1, 2, 2]]], np.uint8)
    predicted = np.array([[[0, 0, 1, 1]], [[4, 4, 3, 3]], [[0, 0, 1, 2]]], np.uint8)
    found = scores_per_frame(truth, predicted)
    each = [segmentation_scores(truth[t : t + 1], predicted[t : t + 1]) for t in range(3)]
    assert (each[0].fg_ari, each[1].fg_ari, each[2].fg_ari) == (None, 0.0, pytest.approx(4 / 7))
    assert found.fg_ari == pytest.approx(2 / 7)
    assert found.mbo == pytest.approx((0.5 + 0.75) / 2)
    assert found.miou == pytest.approx((0.5 + 0.5 + 0.75) / 3)


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
