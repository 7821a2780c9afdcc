"""The numbers that stand on objects in overlays."""

from functools import cache

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from slotcli.tracks.masks import objects_in

Position = tuple[float, float]  # (x, y), in fractions of the frame's width and height

CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_GRID = 96  # samples along the longer side: enough for a number, and fast
_STAYS = 0.5  # a number stays while it is at least so much of the largest distance inside
_BADGE = (20, 22, 26, 205)  # RGBA
_INK = (255, 255, 255, 255)


class NumberPlaces:
    """Positions numbers frame by frame: inside their objects, far from borders, steady in time."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, int]] = {}

    def next(self, labels: UInt8[np.ndarray, "h w"]) -> dict[int, Position]:
        """The position of each object's number in the next frame; all frames have one size."""
        step = max(1, max(labels.shape) // _GRID)
        top, left = (min(step // 2, side - 1) for side in labels.shape)  # sides may be 1 pixel
        coarse = np.ascontiguousarray(labels[top::step, left::step])
        borders = cv2.morphologyEx(coarse, cv2.MORPH_GRADIENT, CROSS)
        inside = np.pad((borders == 0).view(np.uint8), 1)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
        placed: dict[int, tuple[int, int]] = {}
        for label in objects_in(coarse):
            mask = (coarse == label).view(np.uint8)
            _, deepest, _, (x, y) = cv2.minMaxLoc(depth, mask)
            last = self._last.get(label)
            if last and mask[last[1], last[0]] and depth[last[1], last[0]] >= _STAYS * deepest:
                x, y = last
            placed[label] = x, y
        self._last = placed
        rows, columns = coarse.shape
        return {label: ((x + 0.5) / columns, (y + 0.5) / rows) for label, (x, y) in placed.items()}


def draw_numbers(frame: UInt8[np.ndarray, "h w 3"], places: dict[int, Position]) -> None:
    """Draw numbers on small dark plates onto an RGB frame, in place; where it is too small, none.

    The height of a number follows that of the frame.
    """
    height, width = frame.shape[:2]
    size = min(22, max(height, width) // 40)
    if size < 8:
        return
    for label, (x, y) in places.items():
        colour, opacity = _badge(label, size)
        rows, columns = min(len(colour), height), min(colour.shape[1], width)
        top = min(max(0, round(y * height) - rows // 2), height - rows)
        left = min(max(0, round(x * width) - columns // 2), width - columns)
        under = frame[top : top + rows, left : left + columns]
        share = opacity[:rows, :columns]
        under[:] = under * (1 - share) + colour[:rows, :columns] * share


@cache
def _badge(
    label: int, size: int
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 1"]]:
    """Colour and opacity of a number's plate, `size` pixels high."""
    font = ImageFont.load_default(round(0.8 * size))
    width = max(size, round(font.getlength(str(label)) + 0.5 * size))
    image = Image.new("RGBA", (width, size), (*_BADGE[:3], 0))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((0, 0, width - 1, size - 1), size // 4, _BADGE)
    pen.text((width / 2, size / 2), str(label), _INK, font, "mm")
    pixels = np.asarray(image, np.float32)
    return pixels[..., :3], pixels[..., 3:] / 255
