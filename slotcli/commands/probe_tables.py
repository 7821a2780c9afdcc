"""Tables of readouts with their intervals, and their leads in sentences."""

from typing import TYPE_CHECKING

from slotcli.commands import console

if TYPE_CHECKING:
    from slotcli.evaluation.intervals import MeanInterval
    from slotcli.evaluation.probing import Lead, Probe
    from slotcli.results.probe_targets import ProbeTarget

_NAMED = 6  # classes in a line


def show_probe(target: "ProbeTarget", probe: "Probe | None", reason: str) -> None:
    """Prints what was detected of a target, the table of its readouts, and their leads."""
    from slotcli.evaluation.probing import CLASS_SCORES, NUMBER_SCORES

    console.result("")
    console.result(describe(target))
    if target.column.looks_like_classes:
        console.note(
            f"{target.column.name}: whole numbers of few values, read as numbers; "
            f"--classes {target.column.name} reads them as classes."
        )
    if probe is None:
        console.result(f"  not computed: {reason}")
        return
    columns = NUMBER_SCORES if target.column.classes is None else CLASS_SCORES
    rows = [
        [readout.name, *(_cell(readout.scores[name]) for name in columns)]
        for readout in probe.readouts
    ]
    console.table("", ["", *columns.values()], rows)
    name = "R2" if target.column.classes is None else "Balanced accuracy"
    for lead in probe.leads:
        console.result(_sentence(lead, name))


def describe(target: "ProbeTarget") -> str:
    """The detected kind of a target, and the number of its rows and clips."""
    column, rows = target.column, len(target.labels)
    kind = "numbers"
    if column.classes is not None:
        named = ", ".join(column.classes[:_NAMED])
        more = len(column.classes) - _NAMED
        named += f" and {more} more" if more > 0 else ""
        kind = f"{len(column.classes)} classes ({named}), as {column.reason}"
        kind = kind.replace("as asked for", "asked for")
    missing = f"; {target.missing} missing" if target.missing else ""
    return (
        f"{column.name}, of each {target.level}: {kind}. {rows} row{'s' * (rows != 1)} of "
        f"{target.clips} clip{'s' * (target.clips != 1)}{missing}."
    )


def _sentence(lead: "Lead", score: str) -> str:
    value = lead.difference
    if value.mean is None or value.low is None or value.high is None:
        return (
            f"{lead.readout}: too few clips to tell whether it is ahead of the best baseline, "
            f"{lead.baseline}."
        )
    gap = f"{score} {value.mean:+z.2f} [{value.low:+z.2f}, {value.high:+z.2f}]"
    verdict = {True: "ahead of", False: "behind", None: "not clearly ahead of or behind"}
    return f"{lead.readout}: {verdict[lead.ahead]} the best baseline, {lead.baseline} ({gap})."


def _cell(value: "MeanInterval") -> str:
    if value.mean is None:
        return "-"
    if value.low is None or value.high is None:
        return f"{value.mean:.3g}"
    digits = 2 if abs(value.mean) < 10 else 1
    return f"{value.mean:z.{digits}f} [{value.low:z.{digits}f}, {value.high:z.{digits}f}]"
