"""The summary of a batch: summary.json, summary.csv and index.html beside the results."""

import csv
import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from slotcli import __version__
from slotcli.decomposition.batch import Outcome
from slotcli.files.layout import RESULT
from slotcli.files.places import locked
from slotcli.files.writing import whole_file
from slotcli.report.index_page import IndexRow, write_index

SCHEMA = "slotcli.summary/1"
_COLUMNS = ["source", "result", "status", "frames", "seconds", "coverage", "exit_code", "remark"]


def write_summary(out: Path, outcomes: list[Outcome], name: str = "summary") -> dict[str, Any]:
    """Writes `name`.json and .csv, and the page (index.html for summary), and returns the counts.

    A clip that another run finished is listed with the facts of its result.json. Raises OutputError
    and its kin.
    """
    rows = [_row(outcome) for outcome in outcomes]
    counts = dict(sorted(Counter(row["status"] for row in rows).items()))
    summary = {"schema": SCHEMA, "version": __version__, "counts": counts, "clips": rows}
    table = io.StringIO()
    writer = csv.DictWriter(table, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    pages = [_card(row, outcome, out) for row, outcome in zip(rows, outcomes, strict=True)]
    # Runs that share a folder often end together, and would write into each other's files.
    with locked(out / name, wait=True):
        with whole_file(out / f"{name}.json") as file:
            file.write(json.dumps(summary, indent=1, sort_keys=True).encode() + b"\n")
        with whole_file(out / f"{name}.csv") as file:
            file.write(table.getvalue().encode("utf-8", errors="backslashreplace"))
        write_index(out / f"{name.replace('summary', 'index')}.html", "Clips", counts, pages)
    return summary


def _row(outcome: Outcome) -> dict[str, Any]:
    known = outcome.as_dict()
    recorded = _recorded(outcome.clip.result) if outcome.error is None else {}
    remark = outcome.error.what if outcome.error else " ".join(recorded.get("warnings", []))
    return {
        "source": known["source"],
        "result": known["result"],
        # Whichever run made it, so that running again changes nothing here.
        "status": "ok" if outcome.status == "done" else outcome.status,
        "frames": recorded.get("counts", {}).get("frames"),
        "seconds": recorded.get("seconds"),
        "coverage": recorded.get("coverage"),
        "exit_code": known["exit_code"],
        "remark": remark,
    }


def _card(row: dict[str, Any], outcome: Outcome, out: Path) -> IndexRow:
    """The card of a clip; older results do not record how long it is, and how many objects."""
    recorded = {} if row["frames"] is None else _recorded(outcome.clip.result)
    source, counts = recorded.get("source", {}), recorded.get("counts", {})
    size = source.get("size")
    return IndexRow(
        row["source"],
        None if row["frames"] is None else os.path.relpath(outcome.clip.result, out),
        row["status"],
        row["frames"],
        row["remark"],
        seconds=counts.get("seconds"),
        size=None if size is None else (size[0], size[1]),
        bytes=source.get("bytes"),
        objects=counts.get("objects"),
        passed=recorded.get("verdict", {}).get("passed"),
    )


def _recorded(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RESULT).read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
