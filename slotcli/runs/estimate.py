"""Frames, time and disk space that a batch will take, estimated before it begins."""

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from slotcli.checkpoint import LoadedModel
from slotcli.errors import clip_error, printable
from slotcli.model import SlotModel
from slotcli.runs.decompose import expected_frames
from slotcli.runs.machine import free_disk
from slotcli.runs.plan import PlannedClip
from slotcli.runs.request import DecomposeOptions
from slotcli.runs.space import bytes_per_frame
from slotcli.types import Size
from slotcli.video.reader import probe

_TIMING_BYTES = 25
# A busy machine slows some rounds tenfold: one alone says nothing.
_MIN_ROUNDS = 5
_MAX_ROUNDS = 25
_TRIAL_SECONDS = 1.5


@dataclass(frozen=True)
class Estimate:
    """`frames` is None where the source does not declare it or cannot be read, see `remark`.

    `seconds` are the model's, with the fastest and slowest that the trial suggests in `span`.
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


def estimated(
    clips: list[PlannedClip],
    loaded: LoadedModel,
    options: DecomposeOptions,
    device: torch.device,
) -> list[Estimate]:
    """An estimate for each clip: the model's time, from a trial on noise, and its result's bytes.

    Decoding and writing run beside the model and are not in it; a run is as slow as the slowest.
    """
    spec, model = loaded.slot_model()
    options = options.settled(model)
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


def free_for(clips: list[PlannedClip]) -> int:
    """Bytes free on the disk that the results go to."""
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
    timed = rounds[1:]  # the first one warms up
    per_frame = stored // chunk + _TIMING_BYTES
    return _Cost(median(timed), min(timed), max(timed), per_frame)
