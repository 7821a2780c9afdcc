"""One clip to its result folder: a single pass over the frames in constant memory."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from slotcli import __version__
from slotcli.checkpoint import LoadedModel, file_sha256
from slotcli.errors import CannotCreateError, UsageError, printable
from slotcli.kernels.precision import precision_of
from slotcli.report.overlay import OverlayWriter
from slotcli.report.page import write_report
from slotcli.report.strip import StripBuilder
from slotcli.runs.describe import (
    damage_counts,
    damage_warnings,
    model_facts,
    report_page,
    run_facts,
    source_facts,
)
from slotcli.runs.plan import RESULT, SLOT_FILE, PlannedClip
from slotcli.runs.work_folder import put_in_place, work_folder
from slotcli.tracks.masks import (
    BorderVote,
    Ffv1MaskWriter,
    MaskWriter,
    PngMaskWriter,
    labels_from_attention,
)
from slotcli.tracks.slot_file import SlotFileWriter
from slotcli.tracks.statistics import SlotSummary, TracksCsv, TrackStatistics, write_tracks_json
from slotcli.tracks.transform import Transform
from slotcli.tracks.writing import output_errors, whole_file
from slotcli.types import FrameChunk, Size, SlotTrack
from slotcli.video.pixels import resized
from slotcli.video.reader import open_clip
from slotcli.video.source import MAX_PIXELS, Damage, SourceInfo, access_errors

SCHEMA = "slotcli.result/1"

# The background is settled on these first frames, whatever the chunks, so that masks can be
# written while the clip streams.
_LEAD_IN = 16
_OPACITY = 0.5
_MIN_COVERAGE = 0.98

MaskFormat = Literal["png", "ffv1"]


@dataclass(frozen=True)
class DecomposeOptions:
    """`background` is a slot, or how to find it; `fit` is what becomes of another aspect ratio."""

    masks: tuple[MaskFormat, ...] = ("png",)
    background: int | Literal["auto", "none"] = "auto"
    fit: Literal["squeeze", "crop"] = "squeeze"
    chunk: int = 16
    max_bad: float = 0.02
    max_pixels: int = MAX_PIXELS
    overwrite: bool = False


@dataclass(frozen=True)
class ClipResult:
    """`status` is ok, or degraded where more was lost than allowed."""

    folder: Path
    status: Literal["ok", "degraded"]
    frames: int
    seconds: float
    warnings: list[str]


def is_done(clip: PlannedClip) -> bool:
    """Whether a complete result of this very source stands at the clip's place."""
    try:
        recorded = json.loads((clip.result / RESULT).read_bytes())["source"]["path"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return recorded == printable(clip.source.resolve())


def decompose_clip(
    clip: PlannedClip,
    loaded: LoadedModel,
    options: DecomposeOptions,
    device: torch.device,
    progress: Callable[[int, int | None], None],
) -> ClipResult:
    """Writes a clip's result folder beside its place and renames it; nothing is left on failure.

    Raises CannotCreateError where something exists that may not be replaced, NumericError on slots
    that are not finite, and whatever the reader raises for the source.
    """
    started = time.monotonic()
    _require_free(clip.result, options.overwrite)
    with access_errors(clip.source):
        opened = open_clip(clip.source, max_pixels=options.max_pixels)
    with opened as reader, work_folder(clip.result) as work:
        run = _Run(work, reader.info, loaded, options, device)
        with ExitStack() as files:
            run.open(files)
            for chunk in _with_lead_in(reader.chunks(options.chunk)):
                run.add(chunk)
                progress(run.frames, _expected_frames(reader.info))
        result = run.finish(reader.damage, clip, started)
        put_in_place(work, clip.result)
    return result


class _Run:
    """The state of one clip on its way through the model into the files of its result."""

    def __init__(
        self,
        work: Path,
        source: SourceInfo,
        loaded: LoadedModel,
        options: DecomposeOptions,
        device: torch.device,
    ) -> None:
        self.work = work
        self.source = source
        self.loaded = loaded
        self.spec, self.model = loaded.slot_model()
        self.options = options
        self.device = device
        self.transform = fit_transform(source.size, self.spec.size, options.fit)
        self.state: Tensor | None = None
        self.background: int | None = None
        self.frames = 0
        self.kept_sum = 0.0
        self.last_labels: np.ndarray | None = None

    def open(self, files: ExitStack) -> None:
        """Opens every output; the context closes them."""
        time_base = self.source.time_base
        size = self.source.size
        self.slots = SlotFileWriter(self.work)
        self.masks: list[MaskWriter] = []
        if "png" in self.options.masks:
            self.masks.append(files.enter_context(PngMaskWriter(self.work / "masks")))
        if "ffv1" in self.options.masks:
            path = self.work / "masks.mkv"
            self.masks.append(files.enter_context(Ffv1MaskWriter(path, size, time_base)))
        self.overlay = files.enter_context(
            OverlayWriter(self.work / "overlay.mp4", size, time_base, _OPACITY)
        )
        self.csv = files.enter_context(TracksCsv(self.work / "tracks.csv"))
        self.strip = StripBuilder(_OPACITY)

    def add(self, chunk: FrameChunk) -> None:
        """Takes the next frames through the model and into every output."""
        attention = self._encode(chunk)
        if self.frames == 0:
            self._settle_background(attention)
            self.statistics = TrackStatistics(self.spec.num_slots, self.background)
        for index in range(len(chunk)):
            # Frame by frame: labels at full size of a whole chunk would be much memory.
            labels = labels_from_attention(
                attention[index : index + 1], self.transform, self.background
            )[0]
            pts, duration = int(chunk.pts[index]), int(chunk.duration[index])
            seconds = float(pts * self.source.time_base)
            frame = chunk.frames[index]
            for writer in self.masks:
                writer.write(labels, pts, duration)
            self.overlay.write(frame, labels, pts, duration)
            self.strip.add(frame, labels)
            rows = self.statistics.add(labels, frame, seconds, int(chunk.frame_index[index]))
            self.csv.write(rows)
            if self.last_labels is not None:
                self.kept_sum += float((labels == self.last_labels).mean())
            self.last_labels = labels
        self.frames += len(chunk)

    def finish(self, damage: Damage, clip: PlannedClip, started: float) -> ClipResult:
        """Writes what could not be written before the end; result.json last."""
        lost = damage.packet_errors + damage.corrupt_frames
        share = lost / max(1, damage.decoded + damage.packet_errors)
        short = damage.coverage is not None and damage.coverage < _MIN_COVERAGE
        status = "degraded" if share > self.options.max_bad or short else "ok"
        warnings = damage_warnings(damage, _MIN_COVERAGE)
        summaries = self.statistics.summary()
        metadata = self._metadata(damage, summaries)
        self.slots.finish(self.work / SLOT_FILE, metadata)
        write_tracks_json(
            self.work / "tracks.json",
            summaries,
            {"source": metadata["source"], "frames": self.frames},
        )
        self.strip.write(self.work / "strip.png")
        seconds = time.monotonic() - started
        page = report_page(self.source, self.loaded, metadata, summaries, warnings, seconds)
        write_report(self.work / "report.html", page)
        result = {
            "schema": SCHEMA,
            "status": status,
            "source": metadata["source"] | {"path": printable(self.source.path.resolve())},
            "model": {
                "name": self.spec.name,
                "weights_sha256": self.loaded.sha256,
                "path": printable(self.loaded.path.resolve()),
            },
            "counts": {"frames": self.frames, **damage_counts(damage)},
            "coverage": damage.coverage,
            "warnings": warnings,
            "options": metadata["run"]["options"],
            "slots_sha256": file_sha256(self.work / SLOT_FILE),
            "seconds": round(seconds, 3),
            "frames_per_second": round(self.frames / seconds, 3),
            "version": __version__,
        }
        with whole_file(self.work / RESULT) as file:
            file.write(json.dumps(result, indent=1, sort_keys=True).encode() + b"\n")
        return ClipResult(clip.result, status, self.frames, seconds, warnings)

    def _encode(self, chunk: FrameChunk) -> Tensor:
        frames = torch.from_numpy(self._resized(chunk)).permute(0, 3, 1, 2)[None].to(self.device)
        track: SlotTrack = self.model.encode(frames, self.state)
        self.state = track.slots[:, -1]
        # From here on the shares are what the slot file stores, so that an export draws the same.
        attention = self.model.soft_masks(track)[0].half().cpu()
        self.slots.append(track.slots[0], attention.float(), chunk)
        return attention

    def _resized(self, chunk: FrameChunk) -> UInt8[np.ndarray, "t h w 3"]:
        top, left, height, width = self.transform.crop
        cropped = chunk.frames[:, top : top + height, left : left + width]
        return np.stack([resized(frame, self.spec.size) for frame in cropped])

    def _settle_background(self, attention: Tensor) -> None:
        chosen = self.options.background
        if chosen == "auto":
            vote = BorderVote(self.spec.num_slots)
            vote.add(attention[:_LEAD_IN])
            self.background = vote.background()
        elif chosen != "none":
            if not 0 <= chosen < self.spec.num_slots:
                raise UsageError(
                    f"--background {chosen}: the model has slots 0 to {self.spec.num_slots - 1}.",
                    "Choose one of them, auto or none.",
                )
            self.background = chosen

    def _metadata(self, damage: Damage, summaries: list[SlotSummary]) -> dict[str, Any]:
        options = {
            "background": self.options.background,
            "fit": self.options.fit,
            "masks": list(self.options.masks),
        }
        return {
            "model": model_facts(self.loaded),
            "source": source_facts(self.source),
            "transform": self.transform.to_json(),
            "sampling": {"stride": 1, "start": 0},
            "run": run_facts(self.device, precision_of(self.model.encoder.backbone), options),
            "statistics": {
                "frames": self.frames,
                "background": self.background,
                "used_slots": [own.slot for own in summaries if own.frames_present],
                "kept_pixels": None
                if self.frames < 2
                else round(self.kept_sum / (self.frames - 1), 6),
                "corrupt_frames": damage.corrupt_frames,
            },
        }


def fit_transform(source: Size, model: Size, fit: Literal["squeeze", "crop"]) -> Transform:
    """The whole source squeezed to the model's size, or its largest centred box of that shape."""
    height, width = source
    if fit == "squeeze":
        return Transform(source, (0, 0, height, width), model)
    scale = min(height / model[0], width / model[1])
    crop = (max(1, round(model[0] * scale)), max(1, round(model[1] * scale)))
    return Transform(source, ((height - crop[0]) // 2, (width - crop[1]) // 2, *crop), model)


def _require_free(place: Path, overwrite: bool) -> None:
    with output_errors(place):
        if not os.path.lexists(place):
            return
    shown = printable(place)
    if not (place / RESULT).is_file() or place.is_symlink():
        # It may be the source itself, where the output folder is the source's own.
        raise CannotCreateError(
            f"{shown}: exists already, and is no result of slotcli.", "Choose another --out."
        )
    if not overwrite:
        raise CannotCreateError(f"{shown}: exists already.", "Use --overwrite, or another --out.")


def _with_lead_in(chunks: Iterator[FrameChunk]) -> Iterator[FrameChunk]:
    """The same frames; the first chunk has all of the lead-in, or the whole of a shorter clip."""
    first: list[FrameChunk] = []
    for chunk in chunks:
        first.append(chunk)
        if sum(len(part) for part in first) >= _LEAD_IN:
            break
    if first:
        fields = ("frames", "pts", "duration", "frame_index", "flags")
        joined = {name: np.concatenate([getattr(c, name) for c in first]) for name in fields}
        joined_chunk = FrameChunk(**joined)
        # A generator's variables outlive its yields: these frames would stay for the whole clip.
        del first, joined
        yield joined_chunk
        del joined_chunk
    yield from chunks


def _expected_frames(source: SourceInfo) -> int | None:
    if source.declared_frames:
        return source.declared_frames
    if source.declared_seconds and source.average_rate:
        return round(source.declared_seconds * source.average_rate)
    return None
