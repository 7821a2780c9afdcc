"""Cyclic inference: a clip is scanned to its end and back, and the way back is the result.

So the slots of the first frames know the whole clip. SlotCurri (2026).
"""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from slotcli.encoder.encoder import SlotEncoder
from slotcli.errors import UsageError
from slotcli.types import SlotTrack

MOST_BYTES = 2 << 30  # of features kept for the way back


@torch.inference_mode()
def scan_cyclically(
    encoder: SlotEncoder, batches: Iterable[Float[Tensor, "1 t 3 h w"]]
) -> Iterator[SlotTrack]:
    """Tracks of one frame each, the last frame of the clip first; `batches` are in [-1, 1].

    The last frame has the slots of the way there; from it the scan continues backwards. The
    inputs of slot attention are kept for every frame, on the CPU. Raises UsageError where these
    take more than MOST_BYTES.
    """
    kept: list[Float[Tensor, "p d"]] = []
    last: tuple[Tensor, Tensor] | None = None  # slots and attention of the last frame seen
    grid, device = (0, 0), torch.device("cpu")
    for frames in batches:
        device = frames.device
        grid = tuple(side // encoder.backbone.stride for side in frames.shape[-2:])
        features = encoder.features(frames)
        slots, attention = encoder.scan(features, None if last is None else last[0][:, -1])
        last = slots[:, -1:], attention[:, -1:]
        kept += features[0].cpu().unbind(0)
        require_room(len(kept), kept[0].nbytes)
    if last is None:
        return
    for number in reversed(range(len(kept))):
        if number < len(kept) - 1:
            last = encoder.scan(kept[number][None, None].to(device), last[0][:, -1])
        yield SlotTrack(last[0], last[1].unflatten(3, grid))


def require_room(frames: int, size: int) -> None:
    """Raises UsageError where features of `size` bytes a frame are more than may be kept."""
    if frames * size > MOST_BYTES:
        raise UsageError(
            f"Cyclic inference: the clip is too long: {MOST_BYTES >> 20} MiB hold "
            f"{MOST_BYTES // size} frames of what this model needs for the way back.",
            "Take fewer frames (--max-frames; of evaluate, --frames), or scan forwards only.",
        )
