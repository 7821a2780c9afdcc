"""The JSON of a probe."""

from collections.abc import Sequence
from typing import Any

from slotcli.evaluation.intervals import LEAST_CLIPS_OF_A_FIGURE, MeanInterval
from slotcli.evaluation.probe_labels import LabelColumn, LabelRow
from slotcli.evaluation.probing import CLASS_SCORES, NUMBER_SCORES, Probe

SCHEMA = "slotcli.probe/1"


def target_record(column: LabelColumn, probe: Probe | None, reason: str) -> dict[str, Any]:
    """The detected kind of a target, its readouts and leads; both null, with the reason, if none.

    `score` is the one that leads compare: balanced accuracy of classes, R2 of numbers.
    """
    classes = None if column.classes is None else list(column.classes)
    record: dict[str, Any] = {
        "name": column.name,
        "kind": "numbers" if classes is None else "classes",
        "classes": classes,
        "detected": column.reason or "every cell is a number",
        "score": next(iter(NUMBER_SCORES)) if classes is None else list(CLASS_SCORES)[1],
    }
    if probe is None:
        return record | {"readouts": None, "leads": None, "reason": reason}
    readouts = [
        {
            "name": own.name,
            "features": own.features or None,
            "scores": {name: _interval(value) for name, value in own.scores.items()},
            "chosen": own.chosen,
        }
        for own in probe.readouts
    ]
    leads = [
        {
            "readout": own.readout,
            "baseline": own.baseline,
            "difference": _interval(own.difference),
            "ahead": own.ahead,
        }
        for own in probe.leads
    ]
    return record | {"readouts": readouts, "leads": leads, "reason": None}


def left_out_record(rows: Sequence[LabelRow], left_out: dict[int, str]) -> list[dict[str, Any]]:
    """Each reason why rows have no features, with their lines in the file."""
    lines: dict[str, list[int]] = {}
    for index, reason in sorted(left_out.items()):
        lines.setdefault(reason, []).append(rows[index].line)
    return [{"reason": reason, "lines": own} for reason, own in lines.items()]


def _interval(value: MeanInterval) -> dict[str, float | int | str | None]:
    known = {"value": value.mean, "low": value.low, "high": value.high, "clips": value.count}
    if value.low is not None:
        return known
    few = f"An interval needs {LEAST_CLIPS_OF_A_FIGURE} clips."
    return known | {"reason": few if value.mean is not None else "Not defined."}
