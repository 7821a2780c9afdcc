"""Contract of the frozen codecs that latent decoders use."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn


@runtime_checkable
class Codec(Protocol):
    """An autoencoder whose latents are continuous and whose decoder takes continuous latents."""

    @property
    def networks(self) -> list[nn.Module]:
        """The networks that `decode` runs, for their precision and compilation."""
        ...

    def encode(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c i j"]:
        """Latents of frames in [-1, 1], before any quantisation."""
        ...

    def quantise(self, latents: Float[Tensor, "b c i j"]) -> Float[Tensor, "b c i j"]:
        """Quantises latents to the nearest ones that the codec's decoder is trained on."""
        ...

    def decode(self, latents: Float[Tensor, "b c i j"]) -> Float[Tensor, "b 3 h w"]:
        """Decodes latents, quantised first, to frames; not clamped."""
        ...

    def decode_unquantised(self, latents: Float[Tensor, "b c i j"]) -> Float[Tensor, "b 3 h w"]:
        """Decodes latents as they are to frames; not clamped."""
        ...
