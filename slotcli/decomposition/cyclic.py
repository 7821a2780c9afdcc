"""Cyclic inference: a clip is scanned to its end and back, and the way back is the result.

So the slots of the first frames know the whole clip. SlotCurri (2026).
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from slotcli.decomposition.clip_encoder import EncodedChunk, model_input
from slotcli.errors import UsageError
from slotcli.model import SlotModel, normalise
from slotcli.tracks.transform import Transform
from slotcli.types import FrameChunk, SlotTrack

MOST_BYTES = 2 << 30  # of features kept for the way back
_AT_ONCE = 4  # frames


@torch.inference_mode()
def encoded_cyclically(
    model: SlotModel, device: torch.device, chunks: Iterator[FrameChunk], transform: Transform
) -> EncodedChunk | None:
    """All frames of a clip as one chunk, None if there are none.

    The last frame has the slots of the way there; from it the scan continues backwards. The
    inputs of slot attention are kept for every frame. Raises UsageError where these take more than
    MOST_BYTES.
    """
    encoder = model.encoder
    kept: list[Tensor] = []  # features, [p d] each, on the CPU
    flags: list[UInt8[np.ndarray, " t"]] = []
    last: tuple[Tensor, Tensor] | None = None  # slots and attention of the last frame seen
    for chunk in chunks:
        flags.append(chunk.flags)
        for frames in model_input(transform, chunk).split(_AT_ONCE):
            features = encoder.features(normalise(frames[None].to(device)))
            slots, attention = encoder.scan(features, None if last is None else last[0][:, -1])
            last = slots[:, -1:], attention[:, -1:]
            kept += features[0].cpu().unbind(0)
            require_room(len(kept), kept[0].nbytes)
    if last is None:
        return None
    grid = tuple(side // encoder.backbone.stride for side in transform.model_size)
    outputs: list[tuple[Tensor, Tensor]] = []
    for number in reversed(range(len(kept))):
        if number < len(kept) - 1:
            last = encoder.scan(kept[number][None, None].to(device), last[0][:, -1])
        track = SlotTrack(last[0], last[1].unflatten(3, grid))
        outputs.append((track.slots[0].cpu(), model.soft_masks(track)[0].half().cpu()))
    slots, masks = (torch.cat(parts) for parts in zip(*reversed(outputs), strict=True))
    return EncodedChunk(slots, masks, np.concatenate(flags))


def require_room(frames: int, size: int) -> None:
    """Raises UsageError where features of `size` bytes a frame are more than may be kept."""
    if frames * size > MOST_BYTES:
        raise UsageError(
            f"--cyclic: the clip is too long: {MOST_BYTES >> 20} MiB hold "
            f"{MOST_BYTES // size} frames of what this model needs for the way back.",
            "Leave out --cyclic, or take less with --start, --end or --max-frames.",
        )
