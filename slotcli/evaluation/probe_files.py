"""Files of a probe: its summary, and every held-out prediction."""

import csv
import json
from collections.abc import Iterable
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from slotcli.errors import CannotCreateError
from slotcli.evaluation.probe_labels import LabelRow
from slotcli.evaluation.probing import Probe
from slotcli.files.writing import output_errors, whole_file

SUMMARY, PREDICTIONS = "probe.json", "predictions.csv"
COLUMNS = ("clip", "frame", "object", "target", "readout", "fold", "truth", "prediction")


def require_new(out: Path, overwrite: bool) -> None:
    """Raises CannotCreateError if OUT has a probe already, unless it may be replaced."""
    if (out / SUMMARY).exists() and not overwrite:
        raise CannotCreateError(f"{out / SUMMARY}: exists.", "Use --overwrite, or another --out.")


def make_folder(out: Path) -> None:
    """Make OUT if it does not exist, before the work that it is for. Raises as `output_errors`."""
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)


def write_probe(
    out: Path,
    summary: dict[str, Any],
    probes: Iterable[tuple[str, list[LabelRow], tuple[str, ...] | None, Probe]],
) -> None:
    """Write OUT/predictions.csv, then OUT/probe.json, which marks completion.

    `probes` are targets with their rows, their classes and their readouts. For the readout that was
    fitted to labels of other clips, the truth is these labels. Raises as `whole_file`.
    """
    make_folder(out)
    with output_errors(out):
        (out / SUMMARY).unlink(missing_ok=True)  # an older one would contradict the predictions
    with whole_file(out / PREDICTIONS) as file:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for target, rows, classes, probe in probes:
            for readout in probe.readouts:
                for row, fold, truth, predicted in zip(
                    rows, readout.folds, readout.truth, readout.predicted, strict=True
                ):
                    values = (
                        (float(truth), float(predicted))
                        if classes is None
                        else (classes[int(truth)], classes[int(predicted)])
                    )
                    writer.writerow(
                        [row.clip, row.frame, row.object, target, readout.name, fold, *values]
                    )
        text.detach()
    with whole_file(out / SUMMARY) as file:
        file.write(json.dumps(summary, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n")
