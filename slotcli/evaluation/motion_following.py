"""Tests whether labels follow the motion in a clip; a fixed grid scores 0."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

# At 64 x 64 pixels: slower pixels do not show whether their label moved.
_MIN_SPEED = 0.75  # pixels from frame to frame
# Out of 255: with a larger colour error the flow is wrong, or the pixel was occluded.
_MAX_ERROR = 24
_UPSCALING = 4  # the flow's patches of 8 pixels are too coarse for an image of 64
MIN_PIXELS = 50  # least number of deciding pixels; with fewer there is no score


@dataclass(frozen=True)
class FollowingCount:
    """Number of deciding pixels, and of those whose labels follow the motion."""

    with_content: int
    deciding: int

    def __add__(self, other: "FollowingCount") -> "FollowingCount":
        return FollowingCount(
            self.with_content + other.with_content, self.deciding + other.deciding
        )

    @property
    def share(self) -> float | None:
        """Score from 0 (a fixed grid) to 1; None if too few pixels move across label borders."""
        return self.with_content / self.deciding if self.deciding >= MIN_PIXELS else None


def count_following(
    frames: UInt8[np.ndarray, "t 3 h w"], labels: UInt8[np.ndarray, "t h w"]
) -> FollowingCount:
    """Count pixels at which moving and static labels would differ, and those that moved.

    Optical flow (DIS; Kroeger et al. 2016) gives each pixel's position in the next frame. Only
    moving pixels count for which the next frame's labels at the new and at the old position differ:
    they decide between moving and static labels. If consecutive frames hardly differ, frames
    further apart are compared. Frames should have about 64 x 64 pixels.
    """
    found = FollowingCount(0, 0)
    length = len(frames)
    for gap in sorted({1, 2, length - 1} - {0}):
        for start in range(0, length - gap, gap):
            end = start + gap
            found += _between(frames[start], frames[end], labels[start], labels[end])
        if found.deciding >= MIN_PIXELS:
            break
    return found


def _between(
    first: UInt8[np.ndarray, "3 h w"],
    second: UInt8[np.ndarray, "3 h w"],
    before: UInt8[np.ndarray, "h w"],
    after: UInt8[np.ndarray, "h w"],
) -> FollowingCount:
    flow = _flow(first, second)
    height, width = before.shape
    rows, columns = np.mgrid[:height, :width]
    to_row = np.rint(rows + flow[..., 1]).astype(int)
    to_column = np.rint(columns + flow[..., 0]).astype(int)
    inside = (to_row >= 0) & (to_row < height) & (to_column >= 0) & (to_column < width)
    to_row, to_column = to_row.clip(0, height - 1), to_column.clip(0, width - 1)
    picture, later = first.astype(int), second.astype(int)
    error = np.abs(picture - later[:, to_row, to_column]).max(0)
    unmoved = np.abs(picture - later).max(0)
    moving = inside & (np.hypot(flow[..., 0], flow[..., 1]) >= _MIN_SPEED)
    sure = moving & (error < _MAX_ERROR) & (error < unmoved)
    travelled = after[to_row, to_column]
    deciding = sure & (travelled != after)
    return FollowingCount(int((deciding & (before == travelled)).sum()), int(deciding.sum()))


def _flow(
    first: UInt8[np.ndarray, "3 h w"], second: UInt8[np.ndarray, "3 h w"]
) -> Float32[np.ndarray, "h w 2"]:
    """Optical flow: displacement (x, y) of each pixel, in pixels."""
    height, width = first.shape[1:]
    large = (width * _UPSCALING, height * _UPSCALING)
    before, after = (
        cv2.resize(
            cv2.cvtColor(np.ascontiguousarray(picture.transpose(1, 2, 0)), cv2.COLOR_RGB2GRAY),
            large,
            interpolation=cv2.INTER_CUBIC,
        )
        for picture in (first, second)
    )
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    start = np.zeros((*before.shape, 2), np.float32)
    found = search.calc(before, after, start)
    return cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA) / _UPSCALING
