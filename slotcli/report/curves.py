"""Plots curves over training steps to one PNG, one panel per figure, with OpenCV and Pillow."""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from slotcli.files.writing import whole_file
from slotcli.report.axis import Axis, axis_of, number
from slotcli.video.own_outputs import png_mark

Points = list[tuple[int, float | int | None]]
Place = tuple[float | int, float | int]

# Sizes are in units of SCALE pixels, so that the image is sharp on screens of twice the density.
SCALE = 2
COLUMNS = 3
PANEL = (216, 384)
TOP, RIGHT, BOTTOM, LEFT = 40, 18, 30, 52
FONT = 11
TITLE = 13
SUBPIXELS = 4  # fractional bits of cv2's coordinates
DOT = round(2.2 * SCALE * 2**SUBPIXELS)
MARKED = 60  # most points that are marked individually
SMOOTHED = 120  # noisy curves with more points get a running mean

INK, SOFT, GRID, LIMIT = (27, 31, 36), (99, 109, 120), (228, 231, 235), (128, 136, 146)
LINES = (
    (43, 95, 179),
    (217, 95, 2),
    (27, 140, 90),
    (150, 70, 170),
    (200, 45, 70),
    (20, 145, 160),
)


@dataclass(frozen=True)
class Curve:
    """One panel; `lines` are (step, value) of one or several runs by name, steps ascending.

    A value of None leaves a gap. The scale is `logarithmic` if the values allow it and span a
    decade, else it includes all of `span`. If `noisy`, many values are plotted faintly, with their
    running mean on top. `limit` is a dashed line.
    """

    title: str
    lines: dict[str, Points]
    logarithmic: bool = False
    noisy: bool = False
    span: tuple[float, float] | None = None
    limit: float | None = None


@dataclass(frozen=True)
class _Text:
    left: float | int
    top: float | int
    text: str
    colour: tuple[int, int, int]
    size: int
    anchor: str  # as Pillow names them


def write_curves(path: Path, curves: list[Curve]) -> None:
    """Write at least one curve as a PNG, three panels per row. Raises: OutputError and its kin."""
    height, width = PANEL
    columns = min(COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    picture = np.full((rows * height * SCALE, columns * width * SCALE, 3), 255, dtype=np.uint8)
    texts: list[_Text] = []
    for index, curve in enumerate(curves):
        row, column = divmod(index, columns)
        texts += _Panel(picture, row * height, column * width).draw(curve)
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    fonts = {size: ImageFont.load_default(size * SCALE) for size in (FONT, TITLE)}
    for text in texts:
        place = (text.left * SCALE, text.top * SCALE)
        pen.text(place, text.text, text.colour, fonts[text.size], text.anchor)
    with whole_file(path) as file:
        image.save(file, format="PNG", pnginfo=png_mark())


class _Panel:
    """A region of the image for one curve: OpenCV draws its lines, Pillow its text."""

    def __init__(self, picture: UInt8[np.ndarray, "h w 3"], top: int, left: int) -> None:
        self._picture = picture
        self._top, self._bottom = top + TOP, top + PANEL[0] - BOTTOM
        self._left, self._right = left + LEFT, left + PANEL[1] - RIGHT

    def draw(self, curve: Curve) -> list[_Text]:
        """Draws everything except the text, and returns the text."""
        known = [
            (step, value)
            for points in curve.lines.values()
            for step, value in points
            if value is not None and math.isfinite(value)
        ]
        values = [value for _, value in known]
        limits = [] if curve.limit is None else [curve.limit]
        up = axis_of([*values, *limits], logarithmic=curve.logarithmic, span=curve.span)
        steps = [step for step, _ in known]
        along = Axis(0.0, float(max(steps, default=0) or 1))
        texts = [_Text(self._left, self._top - 16, curve.title, INK, TITLE, "ls")]
        for tick in up.ticks(4):
            height = self._height(up, tick)
            self._line([(self._left, height), (self._right, height)], GRID, 1)
            texts.append(_Text(self._left - 7, height, number(tick), SOFT, FONT, "rm"))
        ticks = [tick for tick in along.ticks(4) if tick == round(tick)]
        for tick in ticks:
            place = self._across(along, tick)
            texts.append(_Text(place, self._bottom + 8, number(tick), SOFT, FONT, "mt"))
        if curve.limit is not None:
            self._dashed(self._height(up, curve.limit))
        marked = max(map(len, curve.lines.values()), default=0) <= MARKED
        for colour, points in zip(self._colours(curve), curve.lines.values(), strict=True):
            self._curve(self._parts(along, up, points), colour, curve.noisy, marked)
        if not known:
            texts.append(_Text(self._left + 8, self._top + 20, "no value", SOFT, FONT, "ls"))
        return texts + self._legend(curve)

    def _legend(self, curve: Curve) -> list[_Text]:
        """The last value of a single line, the names of several."""
        texts: list[_Text] = []
        place = float(self._right)
        for colour, (name, points) in reversed(
            list(zip(self._colours(curve), curve.lines.items(), strict=True))
        ):
            last = next((value for _, value in reversed(points) if value is not None), None)
            text = name if len(curve.lines) > 1 else "" if last is None else number(last)
            texts.append(_Text(place, self._top - 16, text, colour, FONT, "rs"))
            place -= ImageFont.load_default(FONT).getlength(text) + 9
        return texts

    def _parts(self, along: Axis, up: Axis, points: Points) -> list[list[Place]]:
        """Coordinates of a line's points, split into parts at gaps."""
        parts: list[list[Place]] = [[]]
        for step, value in points:
            if value is None or not math.isfinite(value):
                parts.append([])
            else:
                parts[-1].append((self._across(along, step), self._height(up, value)))
        return [part for part in parts if part]

    def _curve(
        self,
        parts: list[list[Place]],
        colour: tuple[int, int, int],
        noisy: bool,
        marked: bool,
    ) -> None:
        for part in parts:
            if noisy and len(part) > SMOOTHED:
                faint = tuple(255 - (255 - channel) // 3 for channel in colour)
                self._line(part, faint, 2)
                part = _running_mean(part, len(part) // 40)
            self._line(part, colour, 3)
            for place in part if marked or len(part) == 1 else []:
                centre = _fixed(place)
                cv2.circle(self._picture, centre, DOT, colour, -1, cv2.LINE_AA, SUBPIXELS)

    def _dashed(self, height: float) -> None:
        for start in range(self._left, self._right, 9):
            end = min(start + 5, self._right)
            self._line([(start, height), (end, height)], LIMIT, 2)

    def _line(self, places: list[Place], colour: tuple[int, ...], thickness: int) -> None:
        corners = np.array([_fixed(place) for place in places], np.int32)[:, None]
        cv2.polylines(self._picture, [corners], False, colour, thickness, cv2.LINE_AA, SUBPIXELS)

    def _across(self, axis: Axis, step: float | int) -> float:
        return self._left + axis.place(step) * (self._right - self._left)

    def _height(self, axis: Axis, value: float | int) -> float:
        return self._bottom - axis.place(value) * (self._bottom - self._top)

    @staticmethod
    def _colours(curve: Curve) -> list[tuple[int, int, int]]:
        return [LINES[index % len(LINES)] for index in range(len(curve.lines))]


def _fixed(place: Place) -> tuple[int, int]:
    """Converts units to cv2's fixed-point pixels, whose centres are at integers."""
    x, y = ((value * SCALE - 0.5) * 2**SUBPIXELS for value in place)
    return round(x), round(y)


def _running_mean(places: list[Place], reach: int) -> list[Place]:
    """Running mean of the height over up to `reach` points to either side."""
    heights = np.cumsum([0.0, *(height for _, height in places)])
    out: list[Place] = []
    for index, (x, _) in enumerate(places):
        first, last = max(0, index - reach), min(len(places), index + reach + 1)
        out.append((x, float(heights[last] - heights[first]) / (last - first)))
    return out
