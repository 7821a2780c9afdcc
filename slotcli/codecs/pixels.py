"""No codec: diffusion on the pixels themselves. Paper, appendix E.4."""

from jaxtyping import Float
from torch import Tensor, nn


class Pixels(nn.Module):
    """Frames are their own latents; what frames can be is [-1, 1]."""

    def encode(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The frames."""
        return frames

    def snap(self, latents: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The nearest frames there can be."""
        return latents.clamp(-1, 1)

    def decode(self, latents: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The nearest frames there can be."""
        return self.snap(latents)
