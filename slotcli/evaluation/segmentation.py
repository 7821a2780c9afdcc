"""Scores of predicted labels against true ones, all from one integer confusion matrix.

The matrix counts pixels, so time folds into space (one score per clip, as in SlotDiffusion's
evaluation), memory does not depend on the clip's length, and the Rand index is exact. There are
scores per frame too; these do not penalise a slot that switches between objects.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float, Int64, UInt8

from slotcli.types import OUTSIDE

CHUNK = 1 << 20  # pixels per step of counting, which bounds the memory


@dataclass(frozen=True)
class SegmentationScores:
    """Fractions (the Rand indices may be negative); None if the truth leaves one undefined."""

    fg_ari: float | None
    ari: float | None
    miou: float | None
    fg_miou: float | None
    mbo: float | None


def confusion(
    truth: UInt8[np.ndarray, "*shape"], predicted: UInt8[np.ndarray, "*shape"]
) -> Int64[np.ndarray, "k n"]:
    """Count the pixels of every pair (true label, predicted label), row 0 being background.

    A pixel that is OUTSIDE (255) in either array is not counted. There are as many rows and
    columns as the largest counted label needs, at least one of each.
    """
    counts = np.zeros(256 * 256, np.int64)
    flat_truth, flat_predicted = truth.reshape(-1), predicted.reshape(-1)
    for start in range(0, truth.size, CHUNK):
        pair = flat_truth[start : start + CHUNK].astype(np.uint16) << 8
        pair |= flat_predicted[start : start + CHUNK]
        counts += np.bincount(pair, minlength=counts.size)
    counted = counts.reshape(256, 256)[:OUTSIDE, :OUTSIDE]
    rows, columns = counted.nonzero()
    return counted[: rows.max(initial=0) + 1, : columns.max(initial=0) + 1].copy()


def adjusted_rand_index(confusion: Int64[np.ndarray, "k n"]) -> float:
    """Return how far two partitions agree beyond chance: 1 is identity, 0 is chance.

    Hubert and Arabie (1985). Where both partitions are a single cluster, or all clusters are
    single pixels, the formula is 0/0 and the score 1, as in SAVi's `lib/metrics.py` and in
    SlotDiffusion's evaluation.
    """

    def ordered_pairs(counts: Int64[np.ndarray, "..."]) -> int:
        return int((counts * (counts - 1)).sum())

    together = ordered_pairs(confusion)
    together_in_truth = ordered_pairs(confusion.sum(1))
    together_in_predicted = ordered_pairs(confusion.sum(0))
    pixels = int(confusion.sum())
    pairs = pixels * (pixels - 1)
    # Python's integers: the products exceed 64 bits, and 0/0 has to be detected exactly.
    chance = together_in_truth * together_in_predicted
    denominator = (together_in_truth + together_in_predicted) * pairs - 2 * chance
    if denominator == 0:
        return 1.0
    return 2 * (together * pairs - chance) / denominator


def foreground_ari(confusion: Int64[np.ndarray, "k n"]) -> float | None:
    """Return the adjusted Rand index over the pixels of true objects; None if there are none.

    Predictions on the background do not count, so that a fixed grid scores high. Never report it
    without the index over all pixels.
    """
    foreground = confusion[1:]
    return adjusted_rand_index(foreground) if foreground.any() else None


def mean_iou(confusion: Int64[np.ndarray, "k n"], *, background: bool) -> float | None:
    """Return the mean over true labels of the IoU with the slot matched to each, one to one.

    The matching maximises the sum (Hungarian); a true label without a slot counts 0. With
    `background`, the background is one of the true labels, as in SlotDiffusion's mIoU. None if no
    true label is present.
    """
    from scipy.optimize import linear_sum_assignment  # its import takes longer than a short clip

    iou = _iou(confusion, first_row=0 if background else 1)
    if not len(iou):
        return None
    matched = iou[linear_sum_assignment(iou, maximize=True)]
    return float(matched.sum() / len(iou))


def mean_best_overlap(confusion: Int64[np.ndarray, "k n"]) -> float | None:
    """Return the mean over true objects of the best IoU with any slot; None without any object.

    A slot may be the best of several objects (mBO; Seitzer et al. 2023, DINOSAUR).
    """
    iou = _iou(confusion, first_row=1)
    return float(iou.max(1).mean()) if len(iou) else None


def segmentation_scores(
    truth: UInt8[np.ndarray, "t h w"], predicted: UInt8[np.ndarray, "t h w"]
) -> SegmentationScores:
    """Score one clip's labels against the truth, in which 0 is background and 255 not counted."""
    counts = confusion(truth, predicted)
    return SegmentationScores(
        fg_ari=foreground_ari(counts),
        ari=adjusted_rand_index(counts) if counts.any() else None,
        miou=mean_iou(counts, background=True),
        fg_miou=mean_iou(counts, background=False),
        mbo=mean_best_overlap(counts),
    )


def kept_identities(
    truth: UInt8[np.ndarray, "t h w"], predicted: UInt8[np.ndarray, "t h w"]
) -> float | None:
    """Return the fraction of true objects in the first and last frame with one label in both.

    An object's label in a frame is that of most of its pixels. If this is the label of most of the
    clip's true background, the object was not found and counts as lost. None without such an
    object, or for a single frame.
    """
    if len(truth) < 2:
        return None
    first, last = (confusion(truth[[t]], predicted[[t]]) for t in (0, -1))
    background = confusion(truth, predicted)[0]
    missed = int(background.argmax()) if background.any() else None
    stay = [
        (int(before.argmax()), int(after.argmax()))
        for before, after in zip(first[1:], last[1:], strict=False)
        if before.any() and after.any()
    ]
    kept = [before == after and before != missed for before, after in stay]
    return sum(kept) / len(kept) if kept else None


def scores_per_frame(
    truth: UInt8[np.ndarray, "t h w"], predicted: UInt8[np.ndarray, "t h w"]
) -> SegmentationScores:
    """Score every frame of a clip by itself: the mean, score by score, over frames that define it.

    Slots are matched to objects separately in each frame. None if no frame defines a score.
    """
    frames = [
        asdict(segmentation_scores(truth[t : t + 1], predicted[t : t + 1]))
        for t in range(len(truth))
    ]
    return SegmentationScores(
        **{name: mean_of_defined([f[name] for f in frames]) for name in frames[0]}
    )


def mean_of_defined(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are not None; None without any."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _iou(confusion: Int64[np.ndarray, "k n"], *, first_row: int) -> Float[np.ndarray, "present n"]:
    """IoU of every true label from `first_row` on that has pixels, with every slot.

    A slot's area includes its pixels on the background, also if that row is excluded.
    """
    truth, predicted = confusion.sum(1, keepdims=True), confusion.sum(0, keepdims=True)
    present = truth[:, 0] > 0
    present[:first_row] = False
    return confusion[present] / (truth[present] + predicted - confusion[present])
