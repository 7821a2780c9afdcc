"""The verdict on one result, from windows of its frames that are sampled while the clip streams."""

from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from slotcli.evaluation.label_free import USED_SHARE
from slotcli.evaluation.picture_figures import (
    MEASURED,
    PictureFigures,
    labels_at_size,
    picture_figures,
)
from slotcli.evaluation.verdict import CRITERIA, judge
from slotcli.tracks.transform import Transform
from slotcli.video.pixels import resized

WINDOW = 6  # frames in a row, as in an audit
MAX_WINDOWS = 4  # an even number: the spacing stays regular when every other window is dropped

_Window = list[tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]]


class VerdictSample:
    """Keeps a few evenly spaced windows of a clip of unknown length, in constant memory.

    Only pixels inside of the crop count. Whenever too many windows are kept, every other one is
    dropped and the distance between windows doubles.
    """

    def __init__(self, transform: Transform) -> None:
        self._crop = transform.crop
        self._stride = 1
        self._count = 0
        self._windows: list[_Window] = []

    def add(self, frame: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"]) -> None:
        """Adds the next frame, RGB, and its labels."""
        number, place = divmod(self._count, WINDOW)
        self._count += 1
        if number % self._stride:
            return
        if place == 0:
            if len(self._windows) == MAX_WINDOWS:
                self._windows, self._stride = self._windows[::2], self._stride * 2
            self._windows.append([])
        top, left, height, width = self._crop
        inside = (slice(top, top + height), slice(left, left + width))
        small = labels_at_size(labels[inside][None])[0]
        self._windows[-1].append((resized(frame[inside], MEASURED), small))

    def figures(self) -> dict[str, float | None]:
        """The verdict's figures; None where one cannot be measured, or nothing was added."""
        whole = [window for window in self._windows if len(window) == WINDOW]
        windows = whole or self._windows[:1]
        found = PictureFigures()
        used: float | None = None
        if windows:
            found = picture_figures(_stacked(window) for window in windows)
            counts = [_used(labels) for window in windows for _, labels in window]
            used = float(np.mean(counts))
        known = {**vars(found), "used_slots": used}
        return {
            name: None if (value := known.get(name)) is None else round(value, 4)
            for name in CRITERIA
        }

    def record(self) -> dict[str, Any]:
        """The verdict on the added frames, and its figures, for result.json."""
        figures = self.figures()
        return {**judge(figures, clips=1).as_dict(), "figures": figures}


def _used(labels: UInt8[np.ndarray, "h w"]) -> int:
    return int((np.bincount(labels.ravel()) >= USED_SHARE * labels.size).sum())


def _stacked(window: _Window) -> tuple[UInt8[Tensor, "t 3 h w"], UInt8[np.ndarray, "t h w"]]:
    frames = np.stack([frame for frame, _ in window])
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()
    return pictures, np.stack([labels for _, labels in window])
