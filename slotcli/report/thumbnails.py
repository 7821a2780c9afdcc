"""A thumbnail of every object, from the frame that shows most of it."""

import cv2
import numpy as np
from jaxtyping import UInt8

from slotcli.tracks.masks import objects_in

_SIDE = 112  # pixels, twice that of the page
_LARGER = 1.3  # an object has to grow by so much for a new thumbnail, so that few are made
_AT_BORDER = 0.5  # an object that the frame's border cuts counts half
_MARGIN = 0.15  # of the object's longer side
_DIMMED = 0.5  # brightness of what is around the object
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 82)


class Thumbnails:
    """Cuts the largest piece of each object out of the frame that shows most of it."""

    def __init__(self) -> None:
        self._tried: dict[int, int] = {}  # largest area so far
        self._best: dict[int, float] = {}
        self._pictures: dict[int, np.ndarray] = {}

    def add(self, frame: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h2 w2"]) -> None:
        """Consider the next frame, RGB, with its labels at any smaller size."""
        area = np.bincount(labels.ravel(), minlength=256)
        for label in objects_in(labels):
            if area[label] <= _LARGER * self._tried.get(label, 0):
                continue
            self._tried[label] = int(area[label])
            mask = (labels == label).view(np.uint8)
            pieces, where, measures, _ = cv2.connectedComponentsWithStats(mask)
            largest = 1 + int(measures[1:pieces, cv2.CC_STAT_AREA].argmax())
            x, y, width, height, pixels = measures[largest].tolist()
            cut = x == 0 or y == 0 or x + width == mask.shape[1] or y + height == mask.shape[0]
            score = pixels * (_AT_BORDER if cut else 1)
            if score > self._best.get(label, 0):
                mask = (where == largest).view(np.uint8)
                self._best[label] = score
                self._pictures[label] = _cut_out(frame, mask, (x, y, width, height))

    def pictures(self) -> dict[int, bytes]:
        """A JPEG per object that was in a frame, by its ID."""
        return {
            label: cv2.imencode(".jpg", picture, _JPEG)[1].tobytes()
            for label, picture in sorted(self._pictures.items())
        }


def _cut_out(
    frame: UInt8[np.ndarray, "h w 3"],
    mask: UInt8[np.ndarray, "h2 w2"],
    box: tuple[int, int, int, int],
) -> UInt8[np.ndarray, "s s 3"]:
    """A square around an object, BGR, with its surroundings dimmed."""
    rows, columns = mask.shape
    scale = frame.shape[0] / rows, frame.shape[1] / columns
    x, y, width, height = box
    side = min((1 + 2 * _MARGIN) * max(height * scale[0], width * scale[1]), *frame.shape[:2])
    place = (
        float(np.clip((x + width / 2) * scale[1], side / 2, frame.shape[1] - side / 2)),
        float(np.clip((y + height / 2) * scale[0], side / 2, frame.shape[0] - side / 2)),
    )
    top, left = round(place[1] - side / 2), round(place[0] - side / 2)
    size = max(1, round(side))
    square = frame[top : top + size, left : left + size]
    shape = (_SIDE, _SIDE)
    picture = cv2.resize(square, shape, interpolation=cv2.INTER_AREA)
    steps = (np.arange(_SIDE) + 0.5) * size / _SIDE
    across = np.clip(((left + steps) / scale[1]).astype(int), 0, columns - 1)
    down = np.clip(((top + steps) / scale[0]).astype(int), 0, rows - 1)
    dimmed = cv2.convertScaleAbs(picture, alpha=_DIMMED)
    cv2.copyTo(picture, mask[np.ix_(down, across)], dimmed)
    return cv2.cvtColor(dimmed, cv2.COLOR_RGB2BGR)
