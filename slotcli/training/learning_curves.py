"""Learning curves, plotted from a run's log."""

from typing import Any

from slotcli.evaluation.figures import FIGURES, figure
from slotcli.report.curves import Curve, Panel, panel_of

_DRAWABLE = 1e100


def plottable(value: object) -> float | None:
    """A logged figure as a number that can be plotted; None for anything else."""
    # The comparison is False for NaN, and works for integers too large for a float.
    if isinstance(value, int | float) and abs(value) < _DRAWABLE:
        return float(value)
    return None


def numeric_figures(rows: list[dict[str, Any]]) -> list[str]:
    """The names of all numeric figures of a log, in display order."""
    found = {
        name: None
        for row in rows
        for name, value in row.items()
        if name != "step" and (value is None or plottable(value) is not None)
    }
    return [name for name in FIGURES if name in found] + [n for n in found if n not in FIGURES]


def learning_curves(rows: list[dict[str, Any]]) -> list[Panel]:
    """A panel for each figure of a log that has a value; at least one row must have one."""
    panels: list[Panel] = []
    for name in numeric_figures(rows):
        known = figure(name)
        # An absent figure was not computed for this row; null is one that is undefined.
        points = [(row["step"], plottable(row[name])) for row in rows if name in row]
        if any(value is not None for _, value in points):
            curve = Curve(
                known.heading, points, known.logarithmic, known.noisy, known.span, known.limit
            )
            panels.append(panel_of(curve))
    return panels
