"""Tables of scores with their intervals."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from slotcli.commands import console

if TYPE_CHECKING:
    from slotcli.evaluation.intervals import MeanInterval


def show_scores(
    rows: "dict[str, dict[str, MeanInterval]]", columns: dict[str, str], scale: int
) -> None:
    """Prints a row for each of a model and its baselines, values times `scale`."""
    console.table(
        "",
        ["", *columns.values()],
        [[row, *(_cell(scores[name], scale) for name in columns)] for row, scores in rows.items()],
    )


def _cell(value: "MeanInterval", scale: int) -> str:
    if value.mean is None:
        return "-"
    digits = 1 if abs(value.mean * scale) >= 2 or scale > 1 else 3
    mean = f"{value.mean * scale:.{digits}f}"
    if value.low is None or value.high is None:
        return mean
    half = (value.high - value.low) / 2 * scale
    return f"{mean} ±{half:.{digits if half < 9.95 else 0}f}"


def tell_identity(rows: "dict[str, dict[str, MeanInterval]]") -> None:
    """Prints the fraction of objects that keep their label, of the first row and the best other."""
    (_, own), *others = ((row, scores["identity"]) for row, scores in rows.items())
    known = [(value.mean, row, value) for row, value in others if value.mean is not None]
    if own.mean is not None:
        _, row, best = max(known, key=lambda one: one[0])
        console.result(
            f"Objects with one label in the first and last frame: {_cell(own, 100)} % "
            f"({row}: {_cell(best, 100)} %)."
        )


def plain_scores(rows: "dict[str, dict[str, MeanInterval]]") -> dict[str, Any]:
    """The same scores for a JSON file."""
    return {
        row: {name: asdict(value) for name, value in scores.items()} for row, scores in rows.items()
    }
