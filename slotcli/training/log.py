"""A run's figures, one row per log entry: log.jsonl for programs, log.csv for people."""

import csv
import json
import math
from io import StringIO
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from slotcli.errors import DataError, UnavailableError, printable
from slotcli.evaluation.figures import with_current_names
from slotcli.files.writing import output_errors, whole_file
from slotcli.report.curves import write_curves
from slotcli.training.learning_curves import learning_curves

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG = "log.jsonl"
CURVES = "curves.svg"
_TENSORBOARD = "tensorboard"
_MOST_STEPS = 2**53


class RunLog:
    """Appends rows; a resumed run drops the rows after the step it resumes from.

    With `tensorboard` every figure is also written to `folder`/tensorboard; raises
    UnavailableError, before anything is written, where it is not installed.
    """

    def __init__(
        self, folder: Path, columns: list[str], first_step: int, *, tensorboard: bool = False
    ) -> None:
        self._board = _open_board(folder / _TENSORBOARD, first_step) if tensorboard else None
        self._folder = folder
        self._json = folder / LOG
        self._csv = folder / "log.csv"
        self._columns = columns
        rows = read_log(folder) if self._json.exists() else []
        kept = [row for row in rows if row["step"] <= first_step]
        with whole_file(self._json) as file:
            file.writelines(_json_line(row) for row in kept)
        with whole_file(self._csv) as file:
            file.write(_csv_line(columns))
            file.writelines(self._csv_row(row) for row in kept)

    def add(self, row: dict[str, Any]) -> None:
        """Appends a row; an undefined, NaN or infinite figure is null, and empty in the CSV.

        JSON has no NaN and no infinity.
        """
        row = {name: value if _is_finite(value) else None for name, value in row.items()}
        self._append(row)
        if self._board is not None:
            for name, value in row.items():
                if name != "step" and value is not None:
                    self._board.add_scalar(name, value, row["step"])
            self._board.flush()

    def draw(self) -> None:
        """Plots the log so far as curves.svg. Raises: OutputError and its kin."""
        write_curves(self._folder / CURVES, learning_curves(read_log(self._folder)))

    def _append(self, row: dict[str, Any]) -> None:
        with output_errors(self._folder):
            with self._json.open("ab") as file:
                file.write(_json_line(row))
            with self._csv.open("ab") as file:
                file.write(self._csv_row(row))

    def _csv_row(self, row: dict[str, Any]) -> bytes:
        return _csv_line([row.get(column) for column in self._columns])


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's log.jsonl, each with its `step`, ascending.

    A row cut short by a crash is dropped: no saved state includes its step, which is taken again.
    Where steps repeat or decrease, the rows logged last count. Raises DataError for anything but
    rows.
    """
    path = folder / LOG
    rows: list[dict[str, Any]] = []
    try:
        *lines, _ = path.read_text(encoding="utf-8").split("\n")
        for row in map(json.loads, lines):
            step = row["step"]
            if not isinstance(step, int) or not 0 <= step <= _MOST_STEPS:
                raise ValueError(f"step {step!r}")
            while rows and rows[-1]["step"] >= step:
                rows.pop()
            rows.append(with_current_names(row))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{printable(path)}: no log of a run: {shorten(str(error), 200)}.",
            "Remove what is no row, or the file.",
        ) from error
    return rows


def _json_line(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def _csv_line(cells: list[Any]) -> bytes:
    line = StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _open_board(folder: Path, first_step: int) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UnavailableError(
            "TensorBoard is not installed.", "Use: pip install 'slotcli[log]'"
        ) from error
    # Hides the entries that an interrupted run logged after the step that is resumed from.
    return SummaryWriter(str(folder), purge_step=first_step + 1)
