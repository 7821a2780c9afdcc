"""Overlays of slots on the source, for visual inspection of the tracks."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from slotcli.report.numbers import CROSS, NumberPlaces, draw_numbers
from slotcli.report.palette import slot_colours
from slotcli.types import OUTSIDE, Size
from slotcli.video.own_outputs import MARK
from slotcli.video.writer import VideoWriter

MAX_SIDE = 1280  # enough for viewing; at 1920 it takes longer than all other files together
OUTSIDE_OPACITY = 0.6  # of black over the pixels outside the crop
OPACITY = 0.35  # light enough to see what is below


def overlay_frame(
    frame: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"], opacity: float
) -> UInt8[np.ndarray, "h w 3"]:
    """Blend every slot's colour over its pixels, with a solid contour; darken pixels OUTSIDE.

    `opacity` is between 0 (contours only) and 1; pixels of the background (label 0) are unchanged.
    """
    # applyColorMap looks up all channels at once, in a third of the time of cv2.LUT.
    colours = cv2.applyColorMap(labels, slot_colours()[:, None])
    drawn = cv2.addWeighted(frame, 1 - opacity, colours, opacity, 0)
    # Maximum minus minimum of a pixel and its four neighbours: nonzero where they differ.
    edges = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, CROSS)
    cv2.copyTo(colours, edges, drawn)
    cv2.copyTo(frame, _mask(labels == 0), drawn)
    if cv2.minMaxLoc(labels)[1] == OUTSIDE:
        outside = _mask(labels == OUTSIDE)
        cv2.copyTo(cv2.convertScaleAbs(frame, alpha=1 - OUTSIDE_OPACITY), outside, drawn)
    return np.asarray(drawn, np.uint8)


def _mask(where: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    return where.view(np.uint8)


def fit(size: Size, limit: Size) -> Size:
    """Largest (height, width) with the aspect ratio of `size` within `limit`; never enlarges."""
    scale = min(1.0, limit[0] / size[0], limit[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def shrink(
    frame: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"], size: Size
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], UInt8[np.ndarray, "h2 w2"]]:
    """Frame (averaged) and labels (nearest) at a smaller or the same size."""
    if labels.shape == size:
        return frame, labels
    height, width = size
    # Above half the size bilinear covers every pixel too, in a quarter of the time.
    slightly = 2 * height > labels.shape[0] and 2 * width > labels.shape[1]
    return (
        cv2.resize(
            frame, (width, height), interpolation=cv2.INTER_LINEAR if slightly else cv2.INTER_AREA
        ),
        cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT),
    )


class OverlayWriter:
    """Writes overlay.mp4, with numbers on objects, at the source's size, or at most 1280 pixels.

    Its timing is the source's, relative to the first frame. An odd side is padded by repeating its
    last pixel, because browsers play 4:2:0, which needs even sides.
    """

    def __init__(self, path: Path, source_size: Size, time_base: Fraction, opacity: float) -> None:
        self._size = fit(source_size, (MAX_SIDE, MAX_SIDE))
        self._opacity = opacity
        height, width = self._size
        self._padding = ((0, height % 2), (0, width % 2), (0, 0))
        even = (height + height % 2, width + width % 2)
        self._video = VideoWriter(path, even, time_base, codec="h264-quick", mark=MARK)
        self._numbers = NumberPlaces()
        self._begin: int | None = None  # of the source, in ticks
        self._open = True

    def __enter__(self) -> "OverlayWriter":
        self._video.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        if self._open:
            self._open = False
            self._video.__exit__(*details)

    @property
    def remarks(self) -> list[str]:
        """Sentences on the differences between the overlay's frames or timing and the source's."""
        return self._video.remarks

    def finish(self) -> None:
        """Completes the file before the context ends. Raises: OutputError and its kin."""
        self.__exit__(None, None, None)

    def discard(self, error: Exception) -> None:
        """Deletes the file because of `error`; no frame may be written afterwards."""
        self.__exit__(type(error), error, error.__traceback__)

    def write(
        self,
        frame: UInt8[np.ndarray, "h w 3"],
        labels: UInt8[np.ndarray, "h w"],
        pts: int,
        duration: int,
    ) -> None:
        """Draw and write the next frame; `pts` and `duration` in ticks. Raises: OutputError."""
        small_frame, small_labels = shrink(frame, labels, self._size)
        drawn = overlay_frame(small_frame, small_labels, self._opacity)
        draw_numbers(drawn, self._numbers.next(small_labels))
        if drawn.shape[:2] != self._video.size:
            drawn = np.pad(drawn, self._padding, mode="edge")
        if self._begin is None:
            self._begin = pts
        self._video.write(drawn, pts - self._begin, duration)
