"""Statistics of every object's position and motion, measured on labels as a stream."""

import csv
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from textwrap import shorten
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt8
from pydantic import TypeAdapter

from slotcli.errors import DataError, printable
from slotcli.files.writing import output_errors, whole_file

SCHEMA = "slotcli.tracks/2"  # in schema 1, objects were identified by slot, from 0
NUM_LABELS = 256
BAND = 64  # rows per step of summing colours


@dataclass(frozen=True)
class TrackRow:
    """One object in one frame; an absent one has area 0 and neither centroid nor box.

    Its `id` is its label in the masks: 0 for the background, else that of its slot (`object_ids`).
    Pixels are counted from 0 at the upper left of the source; the box is half open: x0 <= x < x1.
    """

    frame_index: int
    time: float  # seconds from the clip's first frame
    id: int
    area: int  # pixels
    visible_fraction: float  # area over all pixels of the frame
    centroid_x: float | None
    centroid_y: float | None
    x0: int | None
    y0: int | None
    x1: int | None
    y1: int | None
    confidence: float | None  # mean soft mask of its slot over its pixels, 0 to 1


@dataclass(frozen=True)
class SlotSummary:
    """One object over a whole clip; means are over the frames (colour: the pixels) it appears in.

    Its `id` is its label in the masks, as in `TrackRow`.
    """

    id: int
    is_background: bool
    frames_present: int
    share_present: float  # fraction of all frames
    first_time: float | None  # seconds from the clip's first frame
    last_time: float | None
    mean_area: float  # pixels
    mean_visible_fraction: float
    path_length: (
        float  # pixels; path of the centroid over pairs of consecutive frames with the object
    )
    mean_colour: tuple[int, int, int] | None  # RGB
    mean_confidence: float | None = None  # results of older versions have none


def object_ids(num_slots: int, background: Collection[int]) -> list[int]:
    """The id of each slot, its label in the masks: slot + 1, or 0 for background slots."""
    return [0 if slot in background else slot + 1 for slot in range(num_slots)]


class TrackStatistics:
    """Measures labels frame by frame in constant memory.

    All slots of the `background` have label 0; every other slot k has label k + 1.
    """

    def __init__(self, num_slots: int, background: Collection[int]) -> None:
        self._labels = np.array(list(dict.fromkeys(object_ids(num_slots, background))))
        count = len(self._labels)
        self._num_frames = 0
        self._present = np.zeros(count, dtype=np.int64)
        self._first = np.full(count, np.nan)
        self._last = np.full(count, np.nan)
        self._area = np.zeros(count, dtype=np.int64)
        self._fraction = np.zeros(count)
        self._colour = np.zeros((count, 3), dtype=np.int64)
        self._path = np.zeros(count)
        self._centroid = np.full((count, 2), np.nan)
        self._confidence = np.zeros(count)

    def add(
        self,
        labels: UInt8[np.ndarray, "h w"],
        frame: UInt8[np.ndarray, "h w 3"],
        time: float,
        frame_index: int,
        confidence: Float64[np.ndarray, "256"],
    ) -> list[TrackRow]:
        """Measure the next frame (source RGB, `time` in seconds); return one row per object.

        `confidence` is per label, from `Labelling.confidence`.
        """
        measured = _measure(labels, frame)
        area = measured.area[self._labels]
        colour = measured.colour[self._labels]
        centroid = measured.centroid[self._labels]
        box = measured.box[self._labels]
        present = area > 0
        fraction = area / labels.size
        sure = confidence[self._labels]
        step = np.hypot(*(centroid - self._centroid).T)

        self._num_frames += 1
        self._present += present
        self._first = np.where(present & np.isnan(self._first), time, self._first)
        self._last = np.where(present, time, self._last)
        self._area += area
        self._fraction += fraction
        self._colour += colour
        self._path += np.where(np.isnan(step), 0.0, step)
        self._centroid = centroid
        self._confidence += np.where(present, sure, 0.0)

        return [
            TrackRow(
                frame_index,
                time,
                int(self._labels[row]),
                int(area[row]),
                float(fraction[row]),
                *(centroid[row].tolist() if present[row] else (None, None)),
                *(box[row].tolist() if present[row] else (None, None, None, None)),
                confidence=float(sure[row]) if present[row] else None,
            )
            for row in range(len(area))
        ]

    def summary(self) -> list[SlotSummary]:
        """Summaries of all objects so far."""
        return [self._summary_of(row) for row in range(len(self._labels))]

    def _summary_of(self, row: int) -> SlotSummary:
        frames = int(self._present[row])
        area = int(self._area[row])
        red, green, blue = (int(value) for value in np.rint(self._colour[row] / max(area, 1)))
        return SlotSummary(
            id=int(self._labels[row]),
            is_background=int(self._labels[row]) == 0,
            frames_present=frames,
            share_present=frames / max(self._num_frames, 1),
            first_time=float(self._first[row]) if frames else None,
            last_time=float(self._last[row]) if frames else None,
            mean_area=area / max(frames, 1),
            mean_visible_fraction=float(self._fraction[row]) / max(frames, 1),
            path_length=float(self._path[row]),
            mean_colour=(red, green, blue) if frames else None,
            mean_confidence=round(float(self._confidence[row]) / frames, 6) if frames else None,
        )


class TracksCsv:
    """Writes tracks.csv row by row while the clip streams."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "TracksCsv":
        with output_errors(self._path):
            self._file = self._path.open("w", newline="", encoding="utf-8")
            self._rows = csv.writer(self._file, lineterminator="\n")
            self._rows.writerow(field.name for field in fields(TrackRow))
        return self

    def __exit__(self, *details: Any) -> None:
        with output_errors(self._path):
            self._file.close()

    def write(self, rows: Iterable[TrackRow]) -> None:
        """Append rows; floats have 6 decimals, absent values are empty. Raises: OutputError."""
        with output_errors(self._path):
            for row in rows:
                values = (getattr(row, field.name) for field in fields(TrackRow))
                self._rows.writerow(
                    round(value, 6) if isinstance(value, float) else value for value in values
                )


def write_tracks_json(path: Path, summaries: list[SlotSummary], facts: dict[str, Any]) -> None:
    """Write tracks.json: schema, `facts` about the clip, and a summary per object.

    Raises: OutputError and its kin.
    """
    slots = [vars(summary) for summary in summaries]
    text = json.dumps({"schema": SCHEMA, **facts, "slots": slots}, indent=1, allow_nan=False)
    with whole_file(path) as file:
        file.write(text.encode() + b"\n")


def read_tracks_json(path: Path) -> list[SlotSummary]:
    """Read the summaries of `write_tracks_json`. Raises DataError if the file has none.

    Files of schema 1 are read too: their slots get the ids of their masks.
    """
    try:
        slots = json.loads(path.read_bytes())["slots"]
        for own in slots:
            if "slot" in own:
                slot = own.pop("slot")
                own["id"] = 0 if own["is_background"] else slot + 1
        return TypeAdapter(list[SlotSummary]).validate_python(slots)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{printable(path)} is damaged: {shorten(str(error), 200)}.",
            "Make the result again: slotcli decompose.",
        ) from error


@dataclass(frozen=True)
class _Measured:
    area: Int64[np.ndarray, "256"]
    colour: Int64[np.ndarray, "256 3"]  # sums
    centroid: Float64[np.ndarray, "256 2"]  # x, y; NaN if the label is absent
    box: Int64[np.ndarray, "256 4"]  # x0, y0, x1, y1; undefined if the label is absent


def _measure(labels: UInt8[np.ndarray, "h w"], frame: UInt8[np.ndarray, "h w 3"]) -> _Measured:
    """Exact sums over the pixels of every label, computed over horizontal runs of a label."""
    height, width = labels.shape
    starts_run = np.ones((height, width), dtype=bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=starts_run[:, 1:])
    start = np.flatnonzero(starts_run)
    length = np.diff(start, append=labels.size)
    label = labels.ravel()[start]
    y, x = np.divmod(start, width)

    def total(values: np.ndarray) -> Int64[np.ndarray, "256"]:
        # Float64 weights are exact here, because no sum reaches 2**53.
        return np.bincount(label, weights=values, minlength=NUM_LABELS).astype(np.int64)

    area = total(length)
    moments = np.stack([total(length * (2 * x + length - 1)) / 2, total(length * y)], axis=1)
    centroid = np.full((NUM_LABELS, 2), np.nan)
    np.divide(moments, area[:, None], out=centroid, where=area[:, None] > 0)
    box = np.zeros((NUM_LABELS, 4), dtype=np.int64)
    box[:, :2] = max(height, width)
    for column, values in enumerate((x, y)):
        np.minimum.at(box[:, column], label, values)
    for column, values in enumerate((x + length, y + 1)):
        np.maximum.at(box[:, 2 + column], label, values)
    sums = _sums_of_runs(frame, start)
    colour = np.stack([total(sums_of_channel) for sums_of_channel in sums], axis=1)
    return _Measured(area, colour, centroid, box)


def _sums_of_runs(
    frame: UInt8[np.ndarray, "h w 3"], start: Int64[np.ndarray, " runs"]
) -> Int32[np.ndarray, "3 runs"]:
    """Sums of each channel over the runs of pixels that begin at `start`, each within one row.

    It works in bands of rows: planes of a whole frame would be allocated again for every frame,
    which on a virtual machine took longer than the sums.
    """
    height, width = frame.shape[:2]
    sums = np.empty((3, len(start)), np.int32)  # enough for a run as long as a row
    bands = np.searchsorted(start, np.arange(0, height + BAND, BAND) * width)
    for top, (first, last) in zip(range(0, height, BAND), pairwise(bands), strict=True):
        inside = start[first:last] - top * width
        for plane, own in zip(cv2.split(frame[top : top + BAND]), sums, strict=True):
            np.add.reduceat(plane.ravel(), inside, dtype=np.int32, out=own[first:last])
    return sums
