"""slotcli probe: what can be read from slots, beside what needs none."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from slotcli.commands import console, setup
from slotcli.commands.evaluate import FEW_CLIPS
from slotcli.commands.options import (
    INPUT,
    OUTPUT,
    Overwrite,
    Threads,
    parse_choices,
    split_commas,
)
from slotcli.commands.probe_tables import show_probe
from slotcli.errors import DataError, UsageError, printable

if TYPE_CHECKING:
    from slotcli.evaluation.probing import Probe, ReadoutName
    from slotcli.results.probe_features import ProbeFeatures
    from slotcli.results.probe_targets import ProbeTarget

_READOUTS = ("linear", "mlp")
_READING = "Readouts"
_SHOWN = 8  # reasons for rows that are left out


def probe(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT", help="Results of decompose of one model, or folders of them."
        ),
    ],
    labels: Annotated[
        Path,
        typer.Option(
            help="CSV file: clip, frame and object if wanted, and columns to read from slots.",
            metavar="FILE",
            rich_help_panel=INPUT,
        ),
    ],
    targets: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns to read from slots. Default: all. Repeatable, or a list with commas.",
            metavar="NAME",
            rich_help_panel=INPUT,
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns of numbers that are names of classes. Repeatable, or a list with commas.",
            metavar="NAME",
            rich_help_panel=INPUT,
        ),
    ] = None,
    folds: Annotated[
        int,
        typer.Option(
            help="Number of folds; all rows of a clip are in one of them.",
            min=2,
            metavar="N",
            rich_help_panel=_READING,
        ),
    ] = 5,
    readouts: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Readouts to fit: {', '.join(_READOUTS)}. Default: both.",
            metavar="NAME",
            rich_help_panel=_READING,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Seed of the folds and of the MLP.", min=0, metavar="N", rich_help_panel=_READING
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for probe.json and predictions.csv.",
            metavar="FOLDER",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Overwrite = False,
    threads: Threads = None,
) -> None:
    """Measure what linear and small MLP readouts predict from slots, beside trivial baselines.

    The file of labels has a header and a row for each thing: clip (name of the result or its clip),
    frame (from 0, as in tracks.csv; empty: the whole clip, slots averaged over the frames in which
    they have pixels), object (its ID in tracks.csv; empty: the whole scene, slots pooled by mean
    and maximum, in any order). Every other column is read from the slots: numbers by R2 and mean
    absolute error, text, or what --classes names, by accuracy.

    Folds divide clips. Baselines need no slots: the mean or the most frequent class, and the
    object's area and centroid, or the number and area of objects.

    Examples:
      slotcli probe slotcli-out --labels labels.csv
      slotcli probe slotcli-out --labels labels.csv --classes shape --folds 10 -o probe
    """
    console.phase("reading the labels")
    from slotcli.evaluation.intervals import LEAST_CLIPS_OF_A_FIGURE
    from slotcli.evaluation.probe_files import (
        PREDICTIONS,
        SUMMARY,
        make_folder,
        require_new,
        write_probe,
    )
    from slotcli.evaluation.probe_labels import read_labels
    from slotcli.evaluation.probe_record import SCHEMA, left_out_record, target_record
    from slotcli.results.find import find_results
    from slotcli.results.probe_features import probe_features
    from slotcli.results.probe_targets import probe_targets

    fitted = cast("list[ReadoutName]", parse_choices("--readouts", readouts, _READOUTS))
    fitted = fitted or list(_READOUTS)
    if out is not None:
        require_new(out, overwrite)
    setup.set_threads(threads)
    table = read_labels(labels, targets=split_commas(targets), classes=split_commas(classes))
    with console.progress("reading results", "results") as meter:
        features = probe_features(find_results(results), table.rows, progress=meter.update)
    probed = probe_targets(table, features)
    _require_any(probed, labels, folds)
    if out is not None:
        make_folder(out)
    found = _fit(probed, folds, fitted, seed)
    summary = {
        "schema": SCHEMA,
        "model": features.model,
        "results": [str(path) for path in results],
        "labels": str(labels),
        "rows": len(table.rows),
        "left_out": left_out_record(table.rows, features.left_out),
        "folds": folds,
        "seed": seed,
        "targets": [
            {
                "level": target.level,
                "rows": len(target.labels),
                "clips": target.clips,
                "missing": target.missing,
            }
            | target_record(target.column, own, reason)
            for target, (own, reason) in zip(probed, found, strict=True)
        ],
    }
    if out is not None:
        rows = [
            (target.column.name, target.labels, target.column.classes, probe)
            for target, (probe, _) in zip(probed, found, strict=True)
            if probe is not None
        ]
        write_probe(out, summary, rows)
    console.record(summary)
    _tell_left_out(features, len(table.rows))
    if not console.wants_json():
        slots = " or ".join(map(str, features.model["num_slots"]))
        console.result(
            f"{features.model['name']} ({slots} slots of {features.model['slot_dim']} numbers). "
            f"Folds: {folds}, by clip. In brackets: 95 % intervals over clips."
        )
        for target, (probe, reason) in zip(probed, found, strict=True):
            show_probe(target, probe, reason)
    if min(target.clips for target in probed if target.clips) < FEW_CLIPS:
        console.note(
            f"Intervals from fewer than {FEW_CLIPS} clips are too narrow; fewer than "
            f"{LEAST_CLIPS_OF_A_FIGURE} have none."
        )
    if out is not None:
        console.note(f"Written: {out / SUMMARY} and {out / PREDICTIONS}")


def _require_any(targets: "list[ProbeTarget]", labels: Path, folds: int) -> None:
    """Raises UsageError where fewer folds would do, DataError where no target can be probed."""
    from slotcli.evaluation.probing import LEAST_CLIPS, why_not

    reasons = list[str]()
    for target in targets:
        reason = "It has no label." if target.rows is None else why_not(target.rows, folds)
        if reason is None:
            return
        reasons.append(f"{printable(target.column.name)} ({target.level}): {reason}")
    if not targets:
        raise DataError(
            f"{printable(labels)}: no cell of its targets has a label.", "Fill some in."
        )
    most = max(target.clips for target in targets)
    fewer = [own.rows for own in targets if own.rows is not None and own.clips == most]
    if LEAST_CLIPS <= most < folds and any(why_not(rows, most) is None for rows in fewer):
        raise UsageError(reasons[0], f"Label more clips, or use --folds {most}.")
    raise DataError(
        reasons[0],
        f"Label more clips, at least {LEAST_CLIPS} for --folds {LEAST_CLIPS}, with different "
        "labels.",
    )


def _fit(
    targets: "list[ProbeTarget]", folds: int, readouts: "list[ReadoutName]", seed: int
) -> "list[tuple[Probe | None, str]]":
    """The probe of each target, or None with the reason."""
    from slotcli.evaluation.probing import number_of_readouts, probe, why_not

    found: list[tuple[Probe | None, str]] = []
    total, done = len(targets) * number_of_readouts(readouts), 0
    with console.progress("fitting readouts", "readouts") as meter:

        def fitted() -> None:
            nonlocal done
            done += 1
            meter.update(done, total)

        for target in targets:
            if target.rows is None:
                found.append((None, "No row with a label fits a result."))
            elif reason := why_not(target.rows, folds):
                found.append((None, reason))
            else:
                own = probe(target.rows, folds=folds, readouts=readouts, seed=seed, progress=fitted)
                found.append((own, ""))
            done = len(found) * number_of_readouts(readouts)
    return found


def _tell_left_out(features: "ProbeFeatures", rows: int) -> None:
    if not features.left_out:
        return
    console.warn(f"{len(features.left_out)} of {rows} rows of the labels are left out:")
    reasons = Counter(features.left_out.values()).most_common()
    for reason, count in reasons[:_SHOWN]:
        console.warn(f"{reason} ({count} {'row' if count == 1 else 'rows'})")
    if len(reasons) > _SHOWN:
        console.warn(f"and {len(reasons) - _SHOWN} reasons more; --json lists all.")
