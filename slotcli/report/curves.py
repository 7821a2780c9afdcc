"""Curves of figures over training steps, one panel per figure, as SVG for a page or a file.

The coordinates are computed here; `curve.svg.jinja` draws a panel, and `curves.svg.jinja` all.
"""

import math
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import ClassVar

import numpy as np

from slotcli.files.writing import whole_file
from slotcli.report.axis import Axis, axis_of, format_number
from slotcli.report.page import rendered

Points = list[tuple[int, float | None]]
Place = tuple[float, float]

TEMPLATE = "curves.svg.jinja"
COLUMNS = 3
# A panel's size and the sides of its plot, in units of its view box.
WIDTH, HEIGHT = 384, 216
LEFT, TOP, RIGHT, BOTTOM = 52, 40, 366, 186
MARKED = 60  # most points that are marked individually
SMOOTHED = 120  # noisy curves with more points get a running mean
_TICKS = 4


@dataclass(frozen=True)
class Curve:
    """A figure's values by step, ascending; None leaves a gap.

    The scale is `logarithmic` if the values allow it and span a decade, else it includes all of
    `span`. If `noisy`, many values are plotted faintly, with their running mean on top. `limit` is
    a dashed line.
    """

    title: str
    points: Points
    logarithmic: bool = False
    noisy: bool = False
    span: tuple[float, float] | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Panel:
    """A curve in coordinates of the view box, whose origin is at its top left."""

    size: ClassVar = (WIDTH, HEIGHT)
    left: ClassVar = LEFT
    right: ClassVar = RIGHT
    bottom: ClassVar = BOTTOM
    title: str
    last: str
    steps: list[tuple[float, str]]
    values: list[tuple[float, str]]
    limit: float | None
    lines: list[list[Place]] = field(default_factory=list)
    faint: list[list[Place]] = field(default_factory=list)
    dots: list[tuple[float, float, str]] = field(default_factory=list)


def panel_of(curve: Curve) -> Panel:
    """The panel of a curve; NaN and infinities are gaps too."""
    points = [(s, v if v is not None and math.isfinite(v) else None) for s, v in curve.points]
    known = [(step, value) for step, value in points if value is not None]
    limits = [] if curve.limit is None else [curve.limit]
    values = [*(value for _, value in known), *limits]
    up = axis_of(values, logarithmic=curve.logarithmic, span=curve.span)
    along = Axis(0.0, float(max((step for step, _ in known), default=0) or 1))
    panel = Panel(
        title=curve.title,
        last=format_number(known[-1][1]) if known else "no value",
        steps=[(_across(along, t), format_number(t)) for t in along.ticks(_TICKS) if t == round(t)],
        values=[(_height(up, tick), format_number(tick)) for tick in up.ticks(_TICKS)],
        limit=None if curve.limit is None else _height(up, curve.limit),
    )
    for gap, group in groupby(points, lambda point: point[1] is None):
        if gap:
            continue
        part = [(step, value) for step, value in group if value is not None]
        line = [(_across(along, step), _height(up, value)) for step, value in part]
        if len(points) <= MARKED or len(part) == 1:
            labels = (f"{step}: {format_number(value)}" for step, value in part)
            panel.dots.extend((*place, label) for place, label in zip(line, labels, strict=True))
        if curve.noisy and len(line) > SMOOTHED:
            panel.faint.append(_thinned(line))
            line = _running_mean(line, len(line) // 40)
        panel.lines.append(_thinned(line))
    return panel


def write_curves(path: Path, panels: list[Panel]) -> None:
    """Writes at least one panel as an SVG, three per row. Raises: OutputError and its kin."""
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    text = rendered(TEMPLATE, panels=panels, columns=columns, rows=rows)
    with whole_file(path) as file:
        file.write(text.encode())


def _across(axis: Axis, step: float | int) -> float:
    return LEFT + axis.position(step) * (RIGHT - LEFT)


def _height(axis: Axis, value: float | int) -> float:
    return BOTTOM - axis.position(value) * (BOTTOM - TOP)


def _thinned(line: list[Place]) -> list[Place]:
    """The highest and the lowest point of each half unit: a line of the same look, of any run."""
    kept: list[Place] = []
    for _, group in groupby(line, lambda place: round(2 * place[0])):
        places = list(group)
        ends = {min(places, key=lambda place: place[1]), max(places, key=lambda place: place[1])}
        kept += sorted(ends)
    return kept


def _running_mean(places: list[Place], reach: int) -> list[Place]:
    """Running mean of the height over up to `reach` points to either side."""
    heights = np.cumsum([0.0, *(height for _, height in places)])
    out: list[Place] = []
    for index, (x, _) in enumerate(places):
        first, last = max(0, index - reach), min(len(places), index + reach + 1)
        out.append((x, float(heights[last] - heights[first]) / (last - first)))
    return out
