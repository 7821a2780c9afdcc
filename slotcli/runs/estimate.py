"""What a batch will take, before it is begun: frames, time and disk."""

import time
from dataclasses import dataclass
from typing import Any

import torch

from slotcli.checkpoint import LoadedModel
from slotcli.errors import clip_error, printable
from slotcli.runs.decompose import expected_frames
from slotcli.runs.machine import free_disk
from slotcli.runs.plan import PlannedClip
from slotcli.runs.request import DecomposeOptions
from slotcli.runs.space import bytes_per_frame
from slotcli.types import Size
from slotcli.video.reader import probe

_TIMING_BYTES = 25
_TRIAL_FRAMES = 8


@dataclass(frozen=True)
class Estimate:
    """`frames` is None where the source does not tell, or cannot be read, as `remark` says."""

    clip: PlannedClip
    frames: int | None
    size: Size | None
    seconds: float | None
    bytes: int | None
    remark: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "source": printable(self.clip.source),
            "result": printable(self.clip.result),
            "frames": self.frames,
            "size": self.size and list(self.size),
            "model_seconds": self.seconds,
            "bytes": self.bytes,
            "remark": self.remark,
        }


@dataclass(frozen=True)
class _Cost:
    """Of a frame: seconds on the model, and bytes of slots and attention."""

    seconds: float
    bytes: int


def estimated(
    clips: list[PlannedClip],
    loaded: LoadedModel,
    options: DecomposeOptions,
    device: torch.device,
) -> list[Estimate]:
    """What each clip will take: the model's time, tried on noise here, and the bytes of its result.

    Decoding and writing go on beside the model; where they are slower, so is all.
    """
    cost = _tried(loaded, device)
    slots = loaded.slot_model()[0].num_slots
    estimates = []
    for clip in clips:
        try:
            source = probe(clip.source, max_pixels=options.max_pixels)
        except Exception as error:
            estimates.append(Estimate(clip, None, None, None, None, clip_error(error).what))
            continue
        frames = expected_frames(source, options.selection)
        remark = "" if frames else "The file does not say how long it is."
        seconds = frames and frames * cost.seconds
        written = bytes_per_frame(source.size, slots, options.masks, overlay=options.overlay)
        size = frames and frames * (cost.bytes + written)
        estimates.append(Estimate(clip, frames, source.size, seconds, size, remark))
    return estimates


def free_for(clips: list[PlannedClip]) -> int:
    """Bytes free on the disk that the results go to."""
    return free_disk(clips[0].result.parent)


def _tried(loaded: LoadedModel, device: torch.device) -> _Cost:
    spec, model = loaded.slot_model()
    shape = (1, _TRIAL_FRAMES, 3, *spec.size)
    frames = torch.randint(256, shape, dtype=torch.uint8, device=device)
    for _ in range(2):  # the first one warms up
        started = time.monotonic()
        track = model.encode(frames)
        shares = model.soft_masks(track)[0].half().cpu()
        seconds = time.monotonic() - started
    stored = shares.nbytes + track.slots.float().nbytes
    return _Cost(seconds / _TRIAL_FRAMES, stored // _TRIAL_FRAMES + _TIMING_BYTES)
