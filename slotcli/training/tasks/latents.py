"""A cache of a frozen codec's targets, by frame."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

_BYTES = 2 << 30

Encode = Callable[[Float[Tensor, "b 3 h w"]], Shaped[Tensor, "b *target"]]


class FrameKey(NamedTuple):
    """A frame of a data set, mirrored left to right if `flip` is set."""

    clip: int
    frame: int
    flip: bool


class LatentCache:
    """Targets by frame, on the codec's device; the first `bound` bytes of them are cached."""

    def __init__(self, encode: Encode, bound: int = _BYTES) -> None:
        self.bytes = 0
        self._encode = encode
        self._bound = bound
        self._kept: dict[FrameKey, Tensor] = {}

    def of(
        self, places: Sequence[FrameKey], frames: Float[Tensor, "b 3 h w"]
    ) -> Shaped[Tensor, "b *target"]:
        """The targets of frames: cached ones, and the others encoded together."""
        new = {place: row for row, place in enumerate(places) if place not in self._kept}
        here = {place: self._kept[place] for place in places if place in self._kept}
        if new:
            made = targets_of(self._encode, frames[list(new.values())])
            for place, target in zip(new, made, strict=True):
                here[place] = target
                if self.bytes + target.nbytes <= self._bound:
                    self._kept[place] = target.clone()  # a copy, to free the batch's storage
                    self.bytes += target.nbytes
        return torch.stack([here[place] for place in places])


def targets_of(encode: Encode, frames: Float[Tensor, "b 3 h w"]) -> Shaped[Tensor, "b *target"]:
    """A codec's targets for frames; on a CPU bitwise independent of the other frames in the batch.

    On a CPU each frame is encoded alone, because a resumed run has other frames cached than an
    uninterrupted one. Always contiguous, because noise is sampled in the memory order of its
    target.
    """
    if frames.device.type != "cpu":
        return encode(frames).contiguous()
    return torch.cat([encode(frame).contiguous() for frame in frames.split(1)])
