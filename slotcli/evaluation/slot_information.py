"""Tests whether the decoder depends on the slots, by a swap of slots between clips."""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from slotcli.errors import DataError, NumericError
from slotcli.evaluation.audit import SlotInformation
from slotcli.evaluation.segmenter import CLIPS, Segmenter, resize_frames
from slotcli.model import SlotModel, normalise
from slotcli.types import Layout, SlotTrack

_FRAMES = 8  # per batch: a mixture decoder holds an image per slot and frame
_SEED = 0


@torch.inference_mode()
def slot_information(
    model: SlotModel, frames: UInt8[Tensor, "b t 3 h w"], device: torch.device
) -> SlotInformation | None:
    """Decoder losses of unrelated clips with their own slots and with the next clip's slots.

    The first CLIPS clips are used, on `device`. Both losses are computed with the same random
    numbers. None for a model that draws no frames. Raises DataError for fewer than 2 clips,
    NumericError if slots or a loss are not finite.
    """
    if len(frames) < 2:
        raise DataError(
            f"{len(frames)} clip has no other clip's slots.", "Give at least 2 unrelated clips."
        )
    if not model.decoder.draws:
        return None
    frames = frames[:CLIPS]
    track = SlotTrack.concatenate([track for _, track in Segmenter(model, device).tracks(frames)])
    other_track = track.of_clips(torch.arange(len(frames)).roll(1))
    pictures = resize_frames(frames, model.size).flatten(0, 1)
    own, other = track.slots.flatten(0, 1), other_track.slots.flatten(0, 1)
    own_seen, other_seen = track.layout, other_track.layout
    own_sum = other_sum = 0.0
    for first in range(0, len(pictures), _FRAMES):
        part = slice(first, first + _FRAMES)
        target = model.decoder.target(normalise(pictures[part].to(device)))
        count, seed = len(target), _SEED + first
        own_sum += count * _seeded_loss(model, own[part], own_seen[part], target, seed)
        other_sum += count * _seeded_loss(model, other[part], other_seen[part], target, seed)
    return SlotInformation(own_sum / len(pictures), other_sum / len(pictures))


def _seeded_loss(
    model: SlotModel, slots: Float[Tensor, "b n d"], seen: Layout, target: Tensor, seed: int
) -> float:
    """A decoder's loss with a fixed seed; the caller's random state is preserved."""
    on_gpu = [slots.device] if slots.device.type == "cuda" else []
    with torch.random.fork_rng(devices=on_gpu):
        torch.manual_seed(seed)
        loss = model.decoder.loss(slots, target, seen).item()
    if not math.isfinite(loss):
        raise NumericError(
            "The decoder's loss is not finite.",
            "The model's weights do not fit these clips, or its training broke.",
        )
    return loss
