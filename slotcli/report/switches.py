"""Frames at which two objects probably exchanged their identities."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from slotcli.types import OUTSIDE

_STEP = 2  # every other pixel in each direction
_LEAST_AREA = 0.001  # of the frame, in both frames
_TAKEN = 0.5  # fraction of an object's pixels that were another object's in the frame before
_OWN = 0.25  # fraction that was its own: more, and it only moved over the other
_CUT = 30.0  # mean change of gray: at a cut, the same pixel is not the same thing


@dataclass(frozen=True)
class Switch:
    """From `frame` on, the object `now` covers what was the object `before`."""

    frame: int
    before: int
    now: int


class SwitchFinder:
    """Compares each frame's labels with those of the frame before.

    An object whose pixels were mostly another object's, and hardly its own, has probably taken over
    that other one. Slow exchanges are not found, and nothing is at a cut.
    """

    def __init__(self) -> None:
        self.found: list[Switch] = []
        self._frame = 0
        self._gray: np.ndarray | None = None
        self._labels: np.ndarray | None = None

    def add(self, picture: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"]) -> None:
        """Compare the next frame, RGB, and its labels."""
        gray = cv2.cvtColor(picture[:: 4 * _STEP, :: 4 * _STEP], cv2.COLOR_RGB2GRAY)
        coarse = labels[::_STEP, ::_STEP].astype(np.int32)
        if self._gray is not None and self._labels is not None:
            is_cut = cv2.absdiff(gray, self._gray).mean() >= _CUT
            if not is_cut:
                self._compare(self._labels, coarse)
        self._gray, self._labels = gray, coarse
        self._frame += 1

    def _compare(self, before: np.ndarray, now: np.ndarray) -> None:
        labels = OUTSIDE + 1
        pairs = np.bincount((before * labels + now).ravel(), minlength=labels**2)
        overlap = pairs.reshape(labels, labels)
        area, area_before = overlap.sum(0), overlap.sum(1)
        least = _LEAST_AREA * now.size
        for label in range(1, OUTSIDE):
            if area[label] <= least:
                continue
            other = 1 + int(overlap[1:OUTSIDE, label].argmax())
            if (
                other != label
                and overlap[other, label] >= _TAKEN * area[label]
                and overlap[other, label] >= _TAKEN * area_before[other]
                and overlap[label, label] < _OWN * area[label]
                and area_before[other] > least
            ):
                self.found.append(Switch(self._frame, other, label))
