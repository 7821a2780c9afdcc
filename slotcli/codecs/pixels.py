"""No codec: diffusion on the pixels themselves. Paper, appendix E.4."""

from jaxtyping import Float
from torch import Tensor, nn


class Pixels(nn.Module):
    """Identity codec: frames in [-1, 1] are their own latents."""

    @property
    def networks(self) -> list[nn.Module]:
        """None: nothing is computed."""
        return []

    def encode(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The frames."""
        return frames

    def quantise(self, latents: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The latents clamped to [-1, 1]."""
        return latents.clamp(-1, 1)

    def decode(self, latents: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The latents clamped to [-1, 1]."""
        return self.quantise(latents)

    def decode_unquantised(self, latents: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The latents."""
        return latents
