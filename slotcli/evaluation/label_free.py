"""Scores without ground truth, of labels of unrelated clips or of a segmenter on their frames."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from slotcli.errors import DataError
from slotcli.evaluation.segmentation import adjusted_rand_index, confusion
from slotcli.types import Size

USED_SHARE = 0.01  # fraction of a frame that a used slot covers at least

Segment = Callable[[UInt8[Tensor, "b t 3 h w"]], UInt8[np.ndarray, "b t h w"]]


def position_determinism(labels: UInt8[np.ndarray, "b t h w"], num_slots: int) -> float:
    """Return 1 - H(slot | pixel) / H(slot) over unrelated clips: 0 independent, 1 determined.

    The plug-in estimate of an entropy is biased downwards, more so with few samples, and the frames
    of a clip are not independent. Both entropies are therefore corrected by a jackknife that leaves
    out whole clips. Slots are deliberately not matched between clips: the score detects slots that
    always occupy the same position. If one slot takes everything, 0/0, the score is 1. Raises
    DataError for fewer than 2 clips and for labels not below num_slots.
    """
    b, t, h, w = labels.shape
    _require(b >= 2, f"{b} clip to audit", "Give at least 2 unrelated clips.")
    _require_slots(labels, num_slots)
    pixel = np.arange(h * w) * num_slots
    flat = labels.reshape(b, t, h * w)

    def count(clip: UInt8[np.ndarray, "t p"]) -> Int64[np.ndarray, "p n"]:
        pairs = np.bincount((clip + pixel).ravel(), minlength=h * w * num_slots)
        return pairs.reshape(h * w, num_slots)

    per_pixel = sum((count(clip) for clip in flat), np.zeros((h * w, num_slots), np.int64))
    overall = per_pixel.sum(0, keepdims=True)
    without = np.zeros(2)
    for clip in flat:
        rest = per_pixel - count(clip)
        without += _entropy(rest), _entropy(rest.sum(0, keepdims=True))
    plugged = np.array((_entropy(per_pixel), _entropy(overall)))
    conditional, marginal = b * plugged - (b - 1) * without / b
    return float(np.clip(1 - conditional / marginal, 0, 1)) if plugged[1] > 0 else 1.0


def shift_equivariance(segment: Segment, frames: UInt8[Tensor, "b t 3 h w"], shift: int) -> float:
    """Return how well labels follow the image under a diagonal shift: 1 fully, 0 not at all.

    Two crops of (h - shift, w - shift), at the top left and at the bottom right corner, are scaled
    back to (h, w) bilinearly and segmented. On the overlap each pixel takes the label at its own
    centre, so borders agree to about half a pixel. The score is the mean adjusted Rand index of a
    clip's two labellings, corrected by that of labellings of different clips. Without the
    correction, stripes would agree with shifted stripes (index 0.4 to 1, depending on the phase of
    the shift) whatever the image; with it they score 0. One slot everywhere scores 0 too. Raises
    DataError for fewer than 2 clips and for a shift that leaves no overlap.
    """
    b, _, _, h, w = frames.shape
    _require(b >= 2, f"{b} clip to audit", "Give at least 2 unrelated clips.")
    _require(
        0 < shift < min(h, w) // 2,
        f"a shift of {shift} pixels for frames of {h}x{w}",
        "Choose a shift above 0 and below half of the shorter side.",
    )
    first = segment(_zoomed(frames[..., : h - shift, : w - shift], (h, w)))
    second = segment(_zoomed(frames[..., shift:, shift:], (h, w)))
    rows, columns = _centres(h - shift, h), _centres(w - shift, w)
    first = first[:, :, rows[shift:, None], columns[shift:]]
    second = second[:, :, rows[: h - 2 * shift, None], columns[: w - 2 * shift]]
    same = _mean_agreement(first, second)
    other = _mean_agreement(first, np.roll(second, 1, axis=0))
    return float(np.clip((same - other) / (1 - other), 0, 1)) if other < 1 else 0.0


def _mean_agreement(
    first: UInt8[np.ndarray, "b t h w"], second: UInt8[np.ndarray, "b t h w"]
) -> float:
    pairs = zip(first, second, strict=True)
    return float(np.mean([adjusted_rand_index(confusion(*pair)) for pair in pairs]))


def edge_alignment(
    frames: UInt8[Tensor, "b t 3 h w"], labels: UInt8[np.ndarray, "b t h w"]
) -> float | None:
    """Return the mean colour step across label borders over that between any two neighbours.

    1 means that borders ignore the image. None if there is no border, or no colour step.
    """
    border_steps, borders, steps, pairs = 0.0, 0, 0.0, 0
    for clip, clip_labels in zip(frames.numpy(), labels, strict=True):
        for axis in (-2, -1):
            difference = np.diff(clip.astype(np.float32), axis=axis)
            step = np.sqrt((difference**2).sum(1))
            border = np.diff(clip_labels, axis=axis) != 0
            border_steps += float(step[border].sum(dtype=np.float64))
            borders += int(border.sum())
            steps += float(step.sum(dtype=np.float64))
            pairs += step.size
    return (border_steps / borders) / (steps / pairs) if borders and steps else None


def used_slots(labels: UInt8[np.ndarray, "b t h w"], num_slots: int) -> float:
    """Return the mean number of slots that cover at least 1 % of a frame."""
    return float((_area_fractions(labels, num_slots) >= USED_SHARE).sum(1).mean())


def slot_entropy(labels: UInt8[np.ndarray, "b t h w"], num_slots: int) -> float:
    """Return the normalised entropy of the slots' areas: 0 one slot has all, 1 all are equal.

    It is a mean over frames, and 0 with a single slot.
    """
    fractions = _area_fractions(labels, num_slots)
    entropy = -(fractions * np.log(np.where(fractions > 0, fractions, 1))).sum(1).mean()
    return float(entropy / np.log(num_slots)) if num_slots > 1 else 0.0


def identity_carry(labels: UInt8[np.ndarray, "b t h w"]) -> tuple[float | None, float | None]:
    """Return the fraction of pixels that keep their slot: from frame 0 to 1, and in later steps.

    The first is lower than the second if slots change identity after frame 0. None if the clips
    have no such frames (fewer than 2, fewer than 3).
    """
    kept = (labels[:, 1:] == labels[:, :-1]).mean((0, 2, 3))
    return (
        float(kept[0]) if len(kept) > 0 else None,
        float(kept[1:].mean()) if len(kept) > 1 else None,
    )


def _require(condition: bool, what: str, advice: str) -> None:
    if not condition:
        raise DataError(what, advice)


def _require_slots(labels: UInt8[np.ndarray, "b t h w"], num_slots: int) -> None:
    largest = int(labels.max())
    _require(
        largest < num_slots,
        f"labels name slot {largest}, of {num_slots} slots",
        "Give the number of slots that the model was run with.",
    )


def _entropy(counts: Int64[np.ndarray, "p n"]) -> float:
    """Entropy in nats of each row's counts, averaged over rows, which all have the same sum."""
    total = counts[0].sum()
    table = np.arange(total + 1, dtype=np.float64)
    table[1:] *= np.log(table[1:])
    return float(np.log(total) - table[counts].sum() / (total * len(counts)))


def _area_fractions(
    labels: UInt8[np.ndarray, "b t h w"], num_slots: int
) -> Float[np.ndarray, "frames n"]:
    _require_slots(labels, num_slots)
    frames = labels.reshape(-1, labels[0, 0].size)
    counts = [np.bincount(frame, minlength=num_slots) for frame in frames]
    return np.stack(counts) / frames.shape[1]


def _zoomed(frames: UInt8[Tensor, "b t 3 hc wc"], size: Size) -> UInt8[Tensor, "b t 3 h w"]:
    """Scale clip by clip, so that only one clip at a time is in floating point."""
    scaled = [interpolate(clip.float(), size, mode="bilinear").round().byte() for clip in frames]
    return torch.stack(scaled)


def _centres(cropped: int, scaled: int) -> Int64[np.ndarray, " cropped"]:
    """For each pixel of a crop, the index of the pixel of its scaled version at its centre."""
    return ((2 * np.arange(cropped) + 1) * scaled // (2 * cropped)).astype(np.int64)
