"""Edits a clip itself: objects are cut out of its frames, holes filled, and objects put back.

The source is read twice, in constant memory but for sampled frames: first for what the composite
needs of other frames. Pixels outside of holes and cut-outs stay the source's, bit for bit.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Literal

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from slotcli.editing.apply import arrangement_of, placed_mask
from slotcli.editing.arrangement import Arrangement, placement
from slotcli.editing.mattes import cutout, feather_pixels, hole, over, placed
from slotcli.editing.plate import (
    Fill,
    FillRecord,
    Plate,
    inpainted,
    is_still,
    median_plate,
    movement,
    sampled_rows,
)
from slotcli.errors import DataError, printable
from slotcli.files.writing import output_errors
from slotcli.results.reconstruct import clip_video, recorded_history, recorded_labelling
from slotcli.results.source_frames import open_recorded_source, source_pictures
from slotcli.tracks.labelling import Labelling
from slotcli.tracks.masks import labels_from_attention
from slotcli.tracks.slot_file import SlotFile
from slotcli.types import OUTSIDE
from slotcli.video.own_outputs import MARK

LOSSLESS = ".mkv"
Frame = UInt8[np.ndarray, "h w 3"]
Rendered = Iterable[Frame]


@dataclass(frozen=True)
class CompositeRecord:
    """Methods and figures of a composite. `changed` is the fraction of changed pixels."""

    fill: FillRecord
    lossless: bool
    feather: float
    changed: float
    remarks: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The record as plain values."""
        return {**vars(self), "fill": self.fill.as_dict(), "changed": round(self.changed, 6)}


def needs_model(slot_file: SlotFile, fill: Fill) -> bool:
    """Whether some pixels of a composite are the model's: a fill, or an object of another clip."""
    layers = arrangement_of(slot_file).layers
    return fill == "model" or any(layer.foreign and not layer.dropped for layer in layers)


def composite(
    slot_file: SlotFile,
    source: Path,
    out: Path,
    *,
    fill: Fill,
    feather: float | None,
    rendered: Rendered | None,
    progress: Callable[[int, int], None],
) -> CompositeRecord:
    """Writes the source with the edits of a slot file, lossless (FFV1) where `out` ends in .mkv.

    `rendered` are the frames that the model renders from the edited slots, where `needs_model`.
    `feather` is the width of soft borders in pixels, None for a default. Raises DataError where
    `source` is not the clip of the slots, UsageError for a slot file without edits, and the
    writer's errors; nothing partial is left.
    """
    work = _Composite(slot_file, source, fill, feather, rendered)
    codec: Literal["h264", "ffv1-rgb"] = "ffv1-rgb" if out.suffix == LOSSLESS else "h264"
    count = len(slot_file.pts)
    with TemporaryFile() as spilled, ExitStack() as files:
        work.first_pass(_KeptFrames(spilled), files, lambda done: progress(done, 2 * count))
        mark = f"{MARK}; {work.record}"
        with clip_video(slot_file, out, codec, mark) as video:
            for index, frame in enumerate(work.frames(files)):
                video.frame(frame)
                progress(count + index + 1, 2 * count)
        changed = work.changed / max(1, count * frame.shape[0] * frame.shape[1])
        lossless = codec == "ffv1-rgb"
        return CompositeRecord(work.record, lossless, work.feather, changed, video.remarks)


class _Composite:
    """The composite of one clip, whose frames are read once or twice."""

    def __init__(
        self,
        slot_file: SlotFile,
        source: Path,
        fill: Fill,
        feather: float | None,
        rendered: Rendered | None,
    ) -> None:
        assert slot_file.unedited_attention is not None
        self._slot_file = slot_file
        self._unedited = slot_file.unedited_attention
        self._source = source
        self._rendered = rendered
        self._arranged: Arrangement = arrangement_of(slot_file)
        self._labelling = _source_labelling(slot_file)
        self.feather = feather_pixels(slot_file.transform.source_size, feather)
        self.changed = 0
        self._plate: Plate | None = None
        self._hidden = 0
        self._guessed = 0
        removes = bool(self._arranged.holes)
        self.record = FillRecord("none", fill)
        if removes and fill != "auto":
            self.record = FillRecord(fill, fill)
        self._samples = (
            set(sampled_rows(len(slot_file.pts), slot_file.transform.source_size))
            if removes and fill in ("auto", "median")
            else set()
        )

    def first_pass(
        self, kept: "_KeptFrames", files: ExitStack, progress: Callable[[int], None]
    ) -> None:
        """Stores frames that are needed out of order, and makes the plate."""
        wanted = self._out_of_order()
        self._kept = kept
        if not (wanted or self._samples):
            return
        frames: list[Frame] = []
        covered: list[Bool[np.ndarray, "h w"]] = []
        objects: list[Bool[np.ndarray, "h w"]] = []
        for row, frame in enumerate(self._pictures(files)):
            if row in wanted:
                self._kept.add(row, frame)
            if row in self._samples:
                labels = self._labels(row, frame)
                frames.append(frame)
                covered.append(self._hole(labels) > 0)
                others = (labels > 0) & (labels < OUTSIDE)
                objects.append(covered[-1] | (hole(others, self.feather) > 0))
            progress(row + 1)
        if self._samples:
            self._choose_fill(frames, covered, objects)

    def _choose_fill(
        self,
        frames: list[Frame],
        covered: list[Bool[np.ndarray, "h w"]],
        objects: list[Bool[np.ndarray, "h w"]],
    ) -> None:
        asked = self.record.asked
        if not self._arranged.background:
            objects = covered  # every pixel is of an object: only the holes do not count
        moved = movement(frames, objects)
        if asked == "auto" and not is_still(moved):
            self.record = FillRecord("telea", asked, moved)
            return
        self._plate = median_plate(frames, covered, objects)
        union = np.logical_or.reduce(covered)
        guessed = float(self._plate.never_seen[union].mean()) if union.any() else 0.0
        self.record = FillRecord("median", asked, moved, len(frames), guessed)

    def frames(self, files: ExitStack) -> Iterator[Frame]:
        """The composited frames in order."""
        drawn: Iterator[Frame | None] = (
            iter(self._rendered) if self._rendered is not None else _nothing()
        )
        pictures = self._pictures(files)
        for row, (picture, model_frame) in enumerate(zip(pictures, drawn, strict=False)):
            yield self._composited(row, picture, model_frame)

    def _composited(self, row: int, picture: Frame, model_frame: Frame | None) -> Frame:
        arranged = self._arranged
        base_row = int(arranged.base_times[row])
        base = picture if base_row == row else self._kept.frame(base_row)
        touched = np.zeros(base.shape[:2], bool)
        result = base
        if arranged.holes:
            alpha = self._hole(self._labels(base_row, base))
            result = over(base, self._filled(base, alpha, model_frame) * alpha[..., None], alpha)
            touched |= alpha > 0
        for column in arranged.order:
            layer = arranged.layers[column]
            at = int(layer.times[row])
            if layer.foreign:
                assert model_frame is not None
                alpha = cutout(self._new_mask(column, row), self.feather)
                pixels = model_frame * alpha[..., None]
            else:
                own = picture if at == row else base if at == base_row else self._kept.frame(at)
                mask = self._labels(at, own) == layer.source + 1
                affine = placement(layer, row, self._unedited, self._slot_file.transform)
                pixels, alpha = placed(own, cutout(mask, self.feather), affine)
            result = over(result, pixels, alpha)
            touched |= alpha > 0
        self.changed += int(touched.sum())
        return result

    def _filled(
        self, base: Frame, alpha: Float32[np.ndarray, "h w"], model_frame: Frame | None
    ) -> Frame:
        match self.record.method:
            case "median":
                assert self._plate is not None
                return self._plate.pixels
            case "telea" | "ns" as method:
                return inpainted(base, alpha > 0, method)
        assert model_frame is not None
        return model_frame

    def _new_mask(self, column: int, row: int) -> Bool[np.ndarray, "h w"]:
        """Where an object of another clip is put: where its soft mask wins."""
        plane = placed_mask(
            self._arranged.layers[column], row, self._unedited, self._slot_file.transform
        )
        pair = np.stack([plane, 1 - plane])[None]
        return labels_from_attention(pair, self._slot_file.transform)[0] == 1

    def _hole(self, labels: UInt8[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        return hole(np.isin(labels, [slot + 1 for slot in self._arranged.holes]), self.feather)

    def _labels(self, row: int, frame: Frame) -> UInt8[np.ndarray, "h w"]:
        return self._labelling.labels(self._unedited[row], frame)

    def _out_of_order(self) -> set[int]:
        """Rows that are shown at another time."""
        arranged = self._arranged
        now = np.arange(len(arranged.base_times))
        shown = [arranged.base_times, *(arranged.layers[column].times for column in arranged.order)]
        return {int(row) for times in shown for row in times[times != now]}

    def _pictures(self, files: ExitStack) -> Iterator[Frame]:
        size = self._slot_file.transform.source_size
        reader = files.enter_context(open_recorded_source(self._source, size))
        yield from source_pictures(self._slot_file, reader)


def _nothing() -> Iterator[None]:
    while True:
        yield None


def _source_labelling(slot_file: SlotFile) -> Labelling:
    """The rule by which `decompose` made the masks, before any edit."""
    edges: Any = recorded_history(slot_file).get("edges", "bilinear")
    if edges not in ("guided", "bilinear"):
        raise DataError(
            f"The slot file's history is damaged: edges {printable(str(edges))}.",
            "Make the edit again: slotcli edit.",
        )
    return replace(recorded_labelling(slot_file), edges=edges)


class _KeptFrames:
    """Frames in a temporary file without a name, by their row."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offsets: dict[int, int] = {}
        self._shape: tuple[int, ...] = ()

    def add(self, row: int, frame: Frame) -> None:
        """Stores one. Raises OutputError where the disk is full."""
        with output_errors(Path("the temporary file of frames")):
            self._shape = frame.shape
            self._offsets[row] = self._file.seek(0, os.SEEK_END)
            self._file.write(np.ascontiguousarray(frame).data)

    def frame(self, row: int) -> Frame:
        """One that was stored."""
        self._file.seek(self._offsets[row])
        data = bytearray(self._file.read(math.prod(self._shape)))
        return np.frombuffer(data, np.uint8).reshape(self._shape)
