"""Fits frames of any shape to a model's input size."""

import math
from collections.abc import Iterator
from typing import Literal

from slotcli.tracks.transform import Transform
from slotcli.types import Size

Fit = Literal["keep", "squeeze", "crop"]

STEP = 32  # sides of inputs of any shape are multiples of it
_LONGEST = 4096
_PER_AREA = 0.3  # weight of an error in area relative to one in aspect ratio


def fit_transform(source: Size, model: Size, fit: Fit, *, exact: bool = False) -> Transform:
    """The crop (the source, or its largest centred box of the model's shape) and its new size.

    squeeze and crop resize to `model`; keep resizes to `shape_like` of its area, unless `exact`.
    """
    height, width = source
    if fit == "keep" and not exact:
        model = shape_like(source, model[0] * model[1])
    if fit != "crop":
        return Transform(source, (0, 0, height, width), model)
    scale = min(height / model[0], width / model[1])
    crop = (max(1, round(model[0] * scale)), max(1, round(model[1] * scale)))
    return Transform(source, ((height - crop[0]) // 2, (width - crop[1]) // 2, *crop), model)


def shape_like(source: Size, area: int) -> Size:
    """The size, in multiples of STEP, nearest to a source's aspect ratio and to an area in pixels.

    Both errors are ratios; that of the aspect ratio counts three times as much. The result's area
    is at most four times as large.
    """
    aspect = source[0] / source[1]
    most = max(1, min(_LONGEST // STEP, 4 * area // STEP**2))

    def error(size: Size) -> float:
        height, width = size
        of_aspect = abs(math.log(height / width / aspect))
        return of_aspect + _PER_AREA * abs(math.log(height * width / area))

    def sizes() -> Iterator[Size]:
        for rows in range(1, most + 1):
            # The error decreases towards the width of the same aspect ratio from both sides.
            nearest = int(rows / aspect)
            for columns in (nearest, nearest + 1):
                yield STEP * rows, STEP * min(max(columns, 1), most // rows)

    return min(sizes(), key=error)
