"""The tables of a result: columns as NumPy arrays, or a pandas DataFrame where pandas is there."""

import csv
from collections.abc import Iterable
from dataclasses import astuple, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slotcli.errors import DataError, printable
from slotcli.files.reading import access_errors
from slotcli.tracks.statistics import SlotSummary, TrackRow

if TYPE_CHECKING:
    from pandas import DataFrame

Columns = dict[str, np.ndarray]

_WHOLE = ("frame_index", "id", "area", "frames_present")  # never absent
_TRUTH = ("is_background",)
TRACK_COLUMNS = tuple(field.name for field in fields(TrackRow))
_REMAKE = "Make the result again: slotcli decompose."


def table(columns: Columns) -> "Columns | DataFrame":
    """The columns as a DataFrame if pandas is installed, else as they are."""
    if find_spec("pandas") is None:
        return columns
    from pandas import DataFrame

    return DataFrame(columns)


def read_tracks(path: Path, frames: int) -> Columns | None:
    """The columns of a tracks.csv; absent values are NaN. None for the columns of older versions.

    Raises NoInputError without the file, DataError where it is damaged or has not `frames` frames.
    """
    with access_errors(path), path.open(newline="", encoding="utf-8") as file:
        try:
            head, *rows = csv.reader(file)
            if tuple(head) != TRACK_COLUMNS:
                return None
            columns = _columns(TRACK_COLUMNS, rows)
        except (ValueError, csv.Error) as error:
            raise DataError(f"{printable(path)} is damaged: {error}.", _REMAKE) from error
    if len(np.unique(columns["frame_index"])) != frames:
        raise DataError(f"{printable(path)} has the frames of another clip.", _REMAKE)
    return columns


def track_columns(rows: Iterable[TrackRow]) -> Columns:
    """The columns of rows, rounded as in tracks.csv; absent values are NaN."""
    rounded = (
        [round(value, 6) if isinstance(value, float) else value for value in astuple(row)]
        for row in rows
    )
    return _columns(TRACK_COLUMNS, rounded)


def summaries(tracks: Columns) -> Columns:
    """One row per object of `tracks`, with the columns of `SlotSummary` that follow from it.

    Means are over the frames that the object appears in; times in seconds, areas in pixels. An
    object that never appears has NaN times and confidence.
    """
    rows = []
    for own in np.unique(tracks["id"]).tolist():
        every = tracks["id"] == own
        seen = every & (tracks["area"] > 0)
        count, times = int(seen.sum()), tracks["time"][seen]
        rows.append(
            {
                "id": own,
                "is_background": own == 0,
                "frames_present": count,
                "share_present": count / int(every.sum()),
                "first_time": times[0] if count else None,
                "last_time": times[-1] if count else None,
                "mean_area": tracks["area"][seen].sum() / max(count, 1),
                "mean_visible_fraction": tracks["visible_fraction"][seen].sum() / max(count, 1),
                "mean_confidence": tracks["confidence"][seen].mean() if count else None,
            }
        )
    names = tuple(field.name for field in fields(SlotSummary) if field.name in rows[0])
    return _columns(names, ([row[name] for name in names] for row in rows))


def _columns(names: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> Columns:
    """Rows of numbers, or of their text; an absent value is None or empty."""
    values = zip(*rows, strict=True)
    return {name: _column(name, own) for name, own in zip(names, values, strict=True)}


def _column(name: str, values: Iterable[Any]) -> np.ndarray:
    if name in _TRUTH:
        return np.array(list(values), bool)
    if name in _WHOLE:
        return np.array([int(value) for value in values], np.int64)
    return np.array(
        [np.nan if value is None or value == "" else float(value) for value in values], np.float64
    )
