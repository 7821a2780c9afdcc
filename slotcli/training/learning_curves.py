"""Which figures of a run's log are drawn, in which order, and on what scale."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotcli.evaluation.verdict import (
    MAX_POSITION_DETERMINISM,
    MIN_SHIFT_EQUIVARIANCE,
    MIN_USED_SLOTS,
)
from slotcli.report.curves import Curve, write_curves

MAX_DEGENERATION = 0.5  # from which on a run counts as degenerate
_SHARE = (0.0, 1.0)
_DRAWABLE = 1e100


@dataclass(frozen=True)
class Figure:
    """How a figure is called and shown; `limit` is what it is held against, if anything.

    `held_out` says that it is of clips outside of training, and known at evaluations alone.
    """

    title: str
    logarithmic: bool = False
    noisy: bool = False
    span: tuple[float, float] | None = None
    limit: float | None = None
    held_out: bool = True


# In the order they are shown. A figure that is not here is shown behind them, by its own name.
FIGURES = {
    "loss": Figure("Loss", logarithmic=True, noisy=True, held_out=False),
    "denoising": Figure("Denoising loss", logarithmic=True, noisy=True, held_out=False),
    "distortion": Figure(
        "Distortion of what slots see", logarithmic=True, noisy=True, held_out=False
    ),
    "slot_contrast": Figure("Slot contrast", logarithmic=True, noisy=True, held_out=False),
    "gradient_norm": Figure("Gradient norm", logarithmic=True, noisy=True, held_out=False),
    "learning_rate": Figure("Learning rate", span=(0.0, 0.0), held_out=False),
    "temperature": Figure("Temperature", span=_SHARE, held_out=False),
    "codes_used": Figure("Codes used a batch", noisy=True, span=(0.0, 0.0), held_out=False),
    "psnr": Figure("PSNR, dB"),
    "degeneration": Figure("Degeneration", span=_SHARE, limit=MAX_DEGENERATION),
    "position_determinism": Figure(
        "Position determinism", span=_SHARE, limit=MAX_POSITION_DETERMINISM
    ),
    "shift_equivariance": Figure("Shift equivariance", span=_SHARE, limit=MIN_SHIFT_EQUIVARIANCE),
    "used_slots": Figure("Used slots", span=(0.0, 0.0), limit=float(MIN_USED_SLOTS)),
    "slot_information": Figure("Slot information", span=(0.0, 0.0)),
    "edge_alignment": Figure("Edge alignment", span=(1.0, 1.0)),
    "carry_first": Figure("Kept, frame 0 to 1", span=_SHARE),
    "carry_later": Figure("Kept, later frames", span=_SHARE),
    "fg_ari": Figure("FG-ARI", span=_SHARE),
    "ari": Figure("ARI", span=_SHARE),
    "miou": Figure("mIoU", span=_SHARE),
    "steps_per_second": Figure("Steps a second", noisy=True, span=(0.0, 0.0), held_out=False),
    "data_wait": Figure("Time waiting for data", noisy=True, span=_SHARE, held_out=False),
    "skipped": Figure("Skipped steps", span=_SHARE, held_out=False),
    "rollbacks": Figure("Returns to an earlier state", span=_SHARE, held_out=False),
}


def figure(name: str) -> Figure:
    """What is known of a figure; of one that nobody foresaw, its name."""
    return FIGURES.get(name) or Figure(name.replace("_", " ").capitalize(), held_out=False)


def number_in(value: object) -> float | None:
    """A logged figure as a number that can be drawn; None for what is no such number."""
    # The comparison is False for NaN, and holds for whole numbers that no float can be.
    if isinstance(value, int | float) and abs(value) < _DRAWABLE:
        return float(value)
    return None


def figures_in(rows: list[dict[str, Any]]) -> list[str]:
    """The names of all figures of a log that are numbers, in the order they are shown."""
    found = {
        name: None
        for row in rows
        for name, value in row.items()
        if name != "step" and (value is None or number_in(value) is not None)
    }
    return [name for name in FIGURES if name in found] + [n for n in found if n not in FIGURES]


def write_learning_curves(path: Path, runs: dict[str, list[dict[str, Any]]]) -> None:
    """Write the curves of runs, by name, over their steps; at least one has to have a row.

    Raises: OutputError and its kin.
    """
    curves: list[Curve] = []
    for name in figures_in([row for rows in runs.values() for row in rows]):
        known = figure(name)
        # An absent figure was not asked for in this row; null is one that could not be computed.
        lines = {
            run: [(row["step"], number_in(row[name])) for row in rows if name in row]
            for run, rows in runs.items()
        }
        if any(value is not None for points in lines.values() for _, value in points):
            curves.append(
                Curve(known.title, lines, known.logarithmic, known.noisy, known.span, known.limit)
            )
    write_curves(path, curves)
