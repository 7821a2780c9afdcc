"""Estimates the frames, time and disk space of a batch before it begins."""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from slotcli.checkpoint import LoadedModel
from slotcli.compute.machine import free_disk
from slotcli.decomposition.plan import PlannedClip
from slotcli.decomposition.request import DecomposeOptions
from slotcli.errors import OutputError, clip_error, printable
from slotcli.model import SlotModel
from slotcli.report.overlay import MAX_SIDE, fit
from slotcli.tracks.formats.all_formats import MaskFormat
from slotcli.types import Size
from slotcli.video.reader import probe
from slotcli.video.selection import Selection
from slotcli.video.source import SourceInfo

_TIMING_BYTES = 25
# A busy machine slows some rounds tenfold: a single one is not enough.
_MIN_ROUNDS = 5
_MAX_ROUNDS = 25
_TRIAL_SECONDS = 1.5
# Bytes per pixel and frame: overlays of camera clips, masks of twelve ragged objects at 1080p.
_OVERLAY_BYTES = 0.15
_MASK_BYTES: dict[MaskFormat, float] = {
    "png": 0.05,
    "objects": 0.1,
    "ffv1": 0.03,
    "ytvis": 0.4,
    "coco": 0.15,
    "mots": 0.15,
    "npz": 0.05,
    "alpha": 1.6,
    "frames": 0.6,
}
_ROW_BYTES = 90  # of tracks.csv, per slot and frame
_MARGIN = 1.2


@dataclass(frozen=True)
class Estimate:
    """`frames` is None where the source does not declare it or cannot be read, see `remark`.

    `seconds` are the model's; `span` is from the fastest to the slowest of the trial's rounds.
    """

    clip: PlannedClip
    frames: int | None
    size: Size | None
    seconds: float | None
    bytes: int | None
    remark: str = ""
    span: tuple[float, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "source": printable(self.clip.source),
            "result": printable(self.clip.result),
            "frames": self.frames,
            "size": self.size and list(self.size),
            "model_seconds": self.seconds,
            "model_seconds_range": self.span and list(self.span),
            "bytes": self.bytes,
            "remark": self.remark,
        }


@dataclass(frozen=True)
class _Cost:
    """Per frame: seconds on the model (median, fastest, slowest), bytes of slots and attention."""

    seconds: float
    fastest: float
    slowest: float
    bytes: int


def estimate_clips(
    clips: list[PlannedClip],
    loaded: LoadedModel,
    options: DecomposeOptions,
    device: torch.device,
) -> list[Estimate]:
    """An estimate for each clip: the model's time, from a trial on noise, and its result's bytes.

    Decoding and writing run in parallel to the model and are not included; a run is as slow as the
    slowest of them.
    """
    spec, model = loaded.slot_model()
    options = options.settled(model)
    spec, model = options.applied(loaded).slot_model()
    # Other shapes of the same area take about as long.
    cost = _tried(model, options.transform(spec.size, spec.size).model_size, device, options.chunk)
    slots = spec.num_slots
    estimates = []
    for clip in clips:
        try:
            source = probe(clip.source, max_pixels=options.max_pixels)
        except Exception as error:
            estimates.append(Estimate(clip, None, None, None, None, clip_error(error).what))
            continue
        frames = expected_frames(source, options.selection)
        remark = "" if frames else "The file does not say how long it is."
        seconds = None if frames is None else frames * cost.seconds
        span = None if frames is None else (frames * cost.fastest, frames * cost.slowest)
        written = bytes_per_frame(source.size, slots, options.masks, overlay=options.overlay)
        size = frames and frames * (cost.bytes + written)
        estimates.append(Estimate(clip, frames, source.size, seconds, size, remark, span))
    return estimates


def free_bytes(clips: list[PlannedClip]) -> int:
    """Bytes free on the disk of the results."""
    return free_disk(clips[0].result.parent)


def _tried(model: SlotModel, size: Size, device: torch.device, chunk: int) -> _Cost:
    shape = (1, chunk, 3, *size)
    frames = torch.randint(256, shape, dtype=torch.uint8, device=device)
    rounds: list[float] = []
    stored = 0
    began = time.monotonic()
    while len(rounds) <= _MIN_ROUNDS or (
        len(rounds) < _MAX_ROUNDS and time.monotonic() - began < _TRIAL_SECONDS
    ):
        started = time.monotonic()
        track = model.encode(frames)
        attention = model.soft_masks(track)[0].half().cpu()
        rounds.append((time.monotonic() - started) / chunk)
        stored = attention.nbytes + track.slots.float().nbytes
    timed = rounds[1:]  # the first round warms up
    per_frame = stored // chunk + _TIMING_BYTES
    return _Cost(median(timed), min(timed), max(timed), per_frame)


def bytes_per_frame(
    size: Size, num_slots: int, masks: tuple[MaskFormat, ...], *, overlay: bool
) -> int:
    """Bytes per frame of overlay, masks and tracks, without slots and attention."""
    height, width = size
    shown_height, shown_width = fit(size, (MAX_SIDE, MAX_SIDE))
    return round(
        (_OVERLAY_BYTES * shown_height * shown_width if overlay else 0)
        + sum(_MASK_BYTES[name] for name in masks) * height * width
        + _ROW_BYTES * num_slots
    )


def require_space(place: Path, needed: int) -> None:
    """Raises OutputError where the disk of `place` has less free space than 1.2 times `needed`."""
    needed, free = round(_MARGIN * needed), free_disk(place.parent)
    if needed > free:
        raise OutputError(
            f"{printable(place)} takes about {needed >> 20} MiB, and {free >> 20} MiB are free.",
            "Free some space, or choose another --out, or fewer --masks.",
        )


def expected_frames(source: SourceInfo, selection: Selection) -> int | None:
    """The expected number of frames of a selection; None where the source declares none."""
    total = source.declared_frames
    if not total and source.declared_seconds and source.average_rate:
        total = round(source.declared_seconds * source.average_rate)
    if not total:
        return selection.max_frames
    if selection.is_everything:
        return total
    if source.average_rate:
        end = total if selection.end is None else round(selection.end * source.average_rate)
        total = max(0, min(total, end) - round(selection.start * source.average_rate))
    total = -(-total // selection.stride)
    return total if selection.max_frames is None else min(total, selection.max_frames)
