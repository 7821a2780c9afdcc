"""Reads a table of labels for `slotcli probe`: properties of objects and scenes, by clip."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from slotcli.errors import DataError, NoInputError, UsageError, printable
from slotcli.files.reading import access_errors

CLIP, FRAME, OBJECT = "clip", "frame", "object"
MISSING = ("", "nan", "na", "n/a", "null")  # in any case
_FORMAT = f"Columns: {CLIP}, {FRAME} and {OBJECT} if there are, and one or more to read from slots."
_FEW = 10  # whole numbers of at most this number of values may be classes


@dataclass(frozen=True)
class LabelRow:
    """Names what a row is about: an object or a scene, in one frame or over the whole clip."""

    line: int  # in the file, from 1
    clip: str
    frame: int | None  # in the source, from 0; None for the whole clip
    object: int | None  # an ID of tracks.csv; None for the whole scene

    @property
    def level(self) -> str:
        """The kind of thing that the row is about; a readout is fitted for each by itself."""
        subject = "scene" if self.object is None else "object"
        return f"{subject} in a frame" if self.frame is not None else f"{subject} over a clip"


@dataclass(frozen=True)
class LabelColumn:
    """A column as numbers, or as codes of its classes; NaN where a cell is missing."""

    name: str
    values: Float64[np.ndarray, " n"]
    classes: tuple[str, ...] | None  # in the order of their codes; None for numbers
    reason: str  # for classes, why it is not read as numbers
    looks_like_classes: bool  # whole numbers of few values

    @property
    def missing(self) -> Int64[np.ndarray, " m"]:
        """Indices of the rows whose cell is missing."""
        return np.flatnonzero(np.isnan(self.values))


@dataclass(frozen=True)
class Labels:
    """The rows of a table of labels, and its columns beyond those that name a row."""

    rows: list[LabelRow]
    columns: list[LabelColumn]


def read_labels(path: Path, *, targets: Sequence[str] = (), classes: Sequence[str] = ()) -> Labels:
    """Read a CSV file with a header; `targets` are the columns to use, by default all.

    A column of numbers is read as numbers unless it is among `classes`; with any other text it
    holds classes. Cells of MISSING are missing. Raises NoInputError or AccessError, UsageError for
    a column that does not exist, and DataError, with the line, for anything else that is wrong.
    """
    shown = printable(path)
    head, lines = _read(path, shown)
    own = [name for name in head if name not in (CLIP, FRAME, OBJECT)]
    for option, names in (("--targets", targets), ("--classes", classes)):
        for name in names:
            if name not in own:
                raise UsageError(
                    f"{option} {printable(name)}: {shown} has no such column.",
                    f"Choose from {', '.join(map(printable, own))}.",
                )
    rows = [
        LabelRow(
            number,
            cells[CLIP],
            _index(cells.get(FRAME, ""), FRAME, shown, number),
            _index(cells.get(OBJECT, ""), OBJECT, shown, number),
        )
        for number, cells in lines
    ]
    _require_no_repeats(rows, shown)
    wanted = list(targets) or own
    return Labels(rows, [_column(name, lines, name in classes, shown) for name in wanted])


def _read(path: Path, shown: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header, and each line that is not empty with its number and its cells by column."""
    try:
        # Spreadsheets begin a file with a byte order mark.
        with access_errors(path), path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            head = [name.strip() for name in next(reader, [])]
            _require_columns(head, shown)
            lines = list[tuple[int, dict[str, str]]]()
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(head):
                    raise DataError(
                        f"Line {reader.line_num} of {shown} has {len(cells)} cells, the header "
                        f"{len(head)}.",
                        "Put text that contains commas in double quotes.",
                    )
                named = dict(zip(head, (cell.strip() for cell in cells), strict=True))
                if not named[CLIP]:
                    raise DataError(
                        f"Line {reader.line_num} of {shown} names no clip.", "Fill in the cell."
                    )
                lines.append((reader.line_num, named))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(
            f"{shown} is no CSV file in UTF-8: {error}.", "Save it as comma-separated text."
        ) from error
    if not lines:
        raise NoInputError(f"{shown} has no rows below its header.", _FORMAT)
    return head, lines


def _require_columns(head: list[str], shown: str) -> None:
    if CLIP not in head:
        raise DataError(
            f"{shown} has no column {CLIP!r}, but {', '.join(map(printable, head)) or 'none'}.",
            _FORMAT,
        )
    if "" in head:
        raise DataError(
            f"Column {head.index('') + 1} of {shown} has no name.",
            "Name it or remove it; pandas leaves its own out with to_csv(index=False).",
        )
    if repeated := [name for name in head if head.count(name) > 1]:
        raise DataError(f"{shown} has two columns {printable(repeated[0])!r}.", "Rename one.")
    if not set(head) - {CLIP, FRAME, OBJECT}:
        raise DataError(f"{shown} has no column to read from slots.", _FORMAT)


def _index(cell: str, column: str, shown: str, line: int) -> int | None:
    """A whole number from 0, also as 3.0, which pandas writes where a column has empty cells."""
    if cell.casefold() in MISSING:
        return None
    try:
        value = float(cell)
        if value >= 0 and value == int(value):
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise DataError(
        f"Line {line} of {shown}: {column} {printable(cell)!r} is not a whole number from 0.",
        f"Leave {column} empty for the whole {'clip' if column == FRAME else 'scene'}.",
    )


def _require_no_repeats(rows: list[LabelRow], shown: str) -> None:
    first: dict[tuple[str, int | None, int | None], int] = {}
    for row in rows:
        line = first.setdefault((row.clip, row.frame, row.object), row.line)
        if line != row.line:
            raise DataError(
                f"Lines {line} and {row.line} of {shown} are about the same thing.",
                "Keep one row for each clip, frame and object.",
            )


def _order(cell: str) -> tuple[float, str]:
    """Numbers by value, before other text."""
    try:
        return float(cell), cell
    except ValueError:
        return math.inf, cell


def _column(
    name: str, lines: list[tuple[int, dict[str, str]]], as_classes: bool, shown: str
) -> LabelColumn:
    numbers = list[float]()
    reason = "asked for by --classes" if as_classes else ""
    for line, cells in lines:
        cell = cells[name]
        if cell.casefold() in MISSING:
            numbers.append(math.nan)
            continue
        try:
            numbers.append(float(cell))
        except ValueError:
            reason = reason or f"{printable(cell)!r} on line {line} is not a number"
            break
        if math.isinf(numbers[-1]):
            raise DataError(
                f"Line {line} of {shown}: {printable(name)} is infinite.",
                "Leave the cell empty if it is not known.",
            )
    if not reason:
        values = np.array(numbers)
        known = values[~np.isnan(values)]
        whole = bool(len(known)) and bool((known == np.round(known)).all())
        return LabelColumn(name, values, None, "", whole and len(np.unique(known)) <= _FEW)
    cells = [cells[name] for _, cells in lines]
    known = sorted({cell for cell in cells if cell.casefold() not in MISSING}, key=_order)
    codes = {cell: float(code) for code, cell in enumerate(known)}
    values = np.array([codes.get(cell, math.nan) for cell in cells])
    return LabelColumn(name, values, tuple(known), reason, False)
