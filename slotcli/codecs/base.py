"""Frames to latents and back: what a decoder on latents asks of its frozen codec."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Codec(Protocol):
    """An autoencoder whose latents are continuous and whose decoder takes continuous latents."""

    def encode(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c i j"]:
        """Latents of frames in [-1, 1], before any quantisation."""
        ...

    def snap(self, latents: Float[Tensor, "b c i j"]) -> Float[Tensor, "b c i j"]:
        """The nearest latents that the codec itself could have produced."""
        ...

    def decode(self, latents: Float[Tensor, "b c i j"]) -> Float[Tensor, "b 3 h w"]:
        """Frames from latents; the codec snaps them first. Not clamped."""
        ...
