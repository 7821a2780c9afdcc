"""Fills the holes of removed objects: by the clip's own median where its camera stands still.

Median over time: the classical clean plate. Inpainting: OpenCV's, Telea 2004 and Navier-Stokes
(Bertalmio et al. 2001).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Bool, Int16, UInt8

from slotcli.types import Size

Fill = Literal["auto", "median", "telea", "ns", "model"]
Inpainting = Literal["telea", "ns"]

_SAMPLES = 31  # frames, an odd number: a median is then one of the values
_SAMPLE_BYTES = 1 << 28  # of all sampled frames together
_FEWEST = 5
_BLOCK = 1 << 15  # pixels whose median is computed at once
_SMALL = 160  # longest side at which movement of the camera is measured
# A camera stands still where this fraction of the pixels outside of objects stays this near to
# their median over the clip. ED5
_STILL_FRACTION = 0.8
_STILL_LEVELS = 10.0
_RADIUS = 5  # pixels around a hole that inpainting reads
_MARGIN = 24  # pixels around a hole that inpainting is given


@dataclass(frozen=True)
class Plate:
    """The frame without the removed objects, and the pixels that no sampled frame shows."""

    pixels: UInt8[np.ndarray, "h w 3"]
    never_seen: Bool[np.ndarray, "h w"]
    frames: int


def sampled_rows(count: int, size: Size) -> list[int]:
    """Evenly spaced rows of a clip, as many as fit into memory, at most 31."""
    fitting = _SAMPLE_BYTES // (size[0] * size[1] * 4)
    most = min(_SAMPLES, max(_FEWEST, fitting))
    return sorted({int(row) for row in np.linspace(0, count - 1, min(most, count)).round()})


def movement(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]], objects: Sequence[Bool[np.ndarray, "h w"]]
) -> float:
    """Difference of sampled frames to their median outside of `objects`, in levels of 0 to 255.

    It is the quantile `_STILL_FRACTION` of the largest difference of a channel, at a small size;
    infinite where objects cover everything.
    """
    height, width = frames[0].shape[:2]
    scale = min(1.0, _SMALL / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
    free = ~np.stack(
        [
            cv2.resize(own.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
            for own in objects
        ]
    )
    if not free.any():
        return float("inf")
    far = np.abs(small - np.median(small, axis=0)).max(axis=-1)
    return float(np.quantile(far[free], _STILL_FRACTION))


def is_still(moved: float) -> bool:
    """Whether a clip with this `movement` has a camera that stands still."""
    return moved <= _STILL_LEVELS


def median_plate(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]],
    covered: Sequence[Bool[np.ndarray, "h w"]],
    objects: Sequence[Bool[np.ndarray, "h w"]],
) -> Plate:
    """The median over frames of the pixels that no object covers.

    Where objects are in every frame, only those in `covered` are left out; where these are in every
    frame too, Telea's inpainting continues what is around.
    """
    union = np.logical_or.reduce(covered)
    stack = np.stack([frame[union] for frame in frames])
    removed = np.stack([own[union] for own in covered])
    hidden = removed | np.stack([own[union] for own in objects])
    hidden = np.where(hidden.all(axis=0), removed, hidden)
    median = np.zeros(stack.shape[1:], np.uint8)
    for start in range(0, len(median), _BLOCK):
        rows = slice(start, start + _BLOCK)
        median[rows] = _masked_median(stack[:, rows], hidden[:, rows])
    pixels, never_seen = np.array(frames[0]), np.zeros_like(union)
    pixels[union] = median
    never_seen[union] = hidden.all(axis=0)
    return Plate(inpainted(pixels, never_seen, "telea"), never_seen, len(frames))


def _masked_median(
    values: UInt8[np.ndarray, "t k 3"], hidden: Bool[np.ndarray, "t k"]
) -> Int16[np.ndarray, "k 3"]:
    """The lower median over t of the values that are not hidden; 0 where all are."""
    ordered = np.sort(np.where(hidden[..., None], np.int16(256), values.astype(np.int16)), axis=0)
    seen = (~hidden).sum(axis=0)
    middle = np.maximum(seen - 1, 0) // 2
    median = np.take_along_axis(ordered, middle[None, :, None], axis=0)[0]
    return np.where(seen[:, None] > 0, median, np.int16(0))


def inpainted(
    frame: UInt8[np.ndarray, "h w 3"], where: Bool[np.ndarray, "h w"], method: Inpainting
) -> UInt8[np.ndarray, "h w 3"]:
    """The frame with the pixels `where` continued from those around them."""
    if not where.any():
        return frame
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    window = (
        slice(max(0, rows[0] - _MARGIN), rows[-1] + 1 + _MARGIN),
        slice(max(0, columns[0] - _MARGIN), columns[-1] + 1 + _MARGIN),
    )
    flag = cv2.INPAINT_TELEA if method == "telea" else cv2.INPAINT_NS
    filled = np.array(frame)
    part = where[window].astype(np.uint8)
    filled[window] = cv2.inpaint(np.ascontiguousarray(frame[window]), part, _RADIUS, flag)
    return filled


@dataclass
class FillRecord:
    """The method that filled the holes, as asked for or chosen, and its figures.

    `movement` is that of the camera, in levels, None where it was not measured; `guessed` is the
    fraction of the hidden pixels that the median plate had to inpaint.
    """

    method: Literal["none", "median", "telea", "ns", "model"]
    asked: Fill
    movement: float | None = None
    frames: int | None = None
    guessed: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The record as plain values."""
        moved = self.movement
        finite = moved is not None and np.isfinite(moved)
        return {**vars(self), "movement": round(float(moved), 2) if finite else None}  # type: ignore[arg-type]

    def __str__(self) -> str:
        match self.method:
            case "none":
                return "nothing had to be filled"
            case "median":
                guessed = self.guessed or 0.0
                rest = "" if not guessed else f"; {guessed:.0%} of it, never seen, by Telea's"
                return f"filled by the median of {self.frames} frames{rest}"
            case "telea":
                return "filled by Telea's inpainting, frame by frame"
            case "ns":
                return "filled by Navier-Stokes inpainting, frame by frame"
        return "filled by the model's rendering"
