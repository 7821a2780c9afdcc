"""Learning curves, plotted from a run's log."""

from pathlib import Path
from typing import Any

from slotcli.evaluation.figures import FIGURES, figure
from slotcli.report.curves import Curve, write_curves

_DRAWABLE = 1e100


def number_in(value: object) -> float | None:
    """A logged figure as a number that can be plotted; None for anything else."""
    # The comparison is False for NaN, and works for integers too large for a float.
    if isinstance(value, int | float) and abs(value) < _DRAWABLE:
        return float(value)
    return None


def figures_in(rows: list[dict[str, Any]]) -> list[str]:
    """The names of all numeric figures of a log, in display order."""
    found = {
        name: None
        for row in rows
        for name, value in row.items()
        if name != "step" and (value is None or number_in(value) is not None)
    }
    return [name for name in FIGURES if name in found] + [n for n in found if n not in FIGURES]


def write_learning_curves(path: Path, runs: dict[str, list[dict[str, Any]]]) -> None:
    """Plots the curves of runs, by name, over their steps; at least one run must have a row.

    Raises: OutputError and its kin.
    """
    curves: list[Curve] = []
    for name in figures_in([row for rows in runs.values() for row in rows]):
        known = figure(name)
        # An absent figure was not computed for this row; null is one that is undefined.
        lines = {
            run: [(row["step"], number_in(row[name])) for row in rows if name in row]
            for run, rows in runs.items()
        }
        if any(value is not None for points in lines.values() for _, value in points):
            curves.append(
                Curve(known.heading, lines, known.logarithmic, known.noisy, known.span, known.limit)
            )
    write_curves(path, curves)
