"""What a frozen codec makes of frames, kept for when the same frames come again."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

_BYTES = 2 << 30

Encode = Callable[[Float[Tensor, "b 3 h w"]], Shaped[Tensor, "b *target"]]


class FramePlace(NamedTuple):
    """A frame of a data set, mirrored left to right where `flip` says so."""

    clip: int
    frame: int
    flip: bool


class KeptLatents:
    """Targets by the frame's place, where the codec works, the first `bound` bytes of them."""

    def __init__(self, encode: Encode, bound: int = _BYTES) -> None:
        self.bytes = 0
        self._encode = encode
        self._bound = bound
        self._kept: dict[FramePlace, Tensor] = {}

    def of(
        self, places: Sequence[FramePlace], frames: Float[Tensor, "b 3 h w"]
    ) -> Shaped[Tensor, "b *target"]:
        """The targets of frames, each at its place: kept ones, and the others made together."""
        new = {place: row for row, place in enumerate(places) if place not in self._kept}
        here = {place: self._kept[place] for place in places if place in self._kept}
        if new:
            made = targets_of(self._encode, frames[list(new.values())])
            for place, target in zip(new, made, strict=True):
                here[place] = target
                if self.bytes + target.nbytes <= self._bound:
                    self._kept[place] = target.clone()  # alone: not with the batch it is a row of
                    self.bytes += target.nbytes
        return torch.stack([here[place] for place in places])


def targets_of(encode: Encode, frames: Float[Tensor, "b 3 h w"]) -> Shaped[Tensor, "b *target"]:
    """What a codec makes of frames; on a CPU to the bit the same whatever frames come together.

    There each is encoded alone: a resumed run has others in memory than an undisturbed one. Always
    contiguous, for noise is drawn in the order in memory of what it is added to.
    """
    if frames.device.type != "cpu":
        return encode(frames).contiguous()
    return torch.cat([encode(frame).contiguous() for frame in frames.split(1)])
