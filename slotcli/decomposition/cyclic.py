"""A clip encoded by cyclic inference, to its end and back: all of it at once."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from slotcli.decomposition.clip_encoder import EncodedChunk, model_input
from slotcli.encoder.cyclic import scan_cyclically
from slotcli.model import SlotModel, normalise
from slotcli.tracks.transform import Transform
from slotcli.types import FrameChunk

_AT_ONCE = 4  # frames


@torch.inference_mode()
def encoded_cyclically(
    model: SlotModel, device: torch.device, chunks: Iterator[FrameChunk], transform: Transform
) -> EncodedChunk | None:
    """All frames of a clip as one chunk, None if there are none.

    Raises UsageError where the clip is too long, see `scan_cyclically`.
    """
    flags: list[UInt8[np.ndarray, " t"]] = []

    def batches() -> Iterator[Float[Tensor, "1 t 3 h w"]]:
        for chunk in chunks:
            flags.append(chunk.flags)
            for frames in model_input(transform, chunk).split(_AT_ONCE):
                yield normalise(frames[None].to(device))

    outputs = [
        (track.slots[0].cpu(), model.soft_masks(track)[0].half().cpu())
        for track in scan_cyclically(model.encoder, batches())
    ]
    if not outputs:
        return None
    slots, masks = (torch.cat(parts) for parts in zip(*reversed(outputs), strict=True))
    return EncodedChunk(slots, masks, np.concatenate(flags))
