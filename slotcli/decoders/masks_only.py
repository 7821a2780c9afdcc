"""No decoder: a model that finds objects but renders no frames, trained by a loss on its masks."""

from jaxtyping import Float
from torch import Tensor, nn

from slotcli.decoders.base import RenderOptions
from slotcli.errors import UnavailableError
from slotcli.types import Layout


class MasksOnly(nn.Module):
    """Placeholder for a decoder; its masks are the encoder's attention."""

    draws = False
    networks: list[nn.Module] = []  # noqa: RUF012 - there are none to be changed

    def target(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 0"]:
        """An empty target, since there is no reconstruction."""
        return frames.new_zeros(len(frames), 0)

    def loss(
        self,
        slots: Float[Tensor, "b n d"],
        target: Float[Tensor, "b 0"],
        seen: Layout | None = None,
    ) -> Float[Tensor, ""]:
        """0, without a gradient."""
        return slots.new_zeros(())

    def render(
        self, slots: Float[Tensor, "b n d"], options: RenderOptions, seen: Layout | None = None
    ) -> Float[Tensor, "b 3 h w"]:
        """Raises UnavailableError: this model cannot render."""
        raise UnavailableError(
            "This model has no decoder: it finds objects and draws nothing.",
            "Use a model with a decoder for pictures; masks and tracks need none.",
        )

    def soft_masks(
        self, slots: Float[Tensor, "b n d"], attention: Float[Tensor, "b n i j"]
    ) -> Float[Tensor, "b n i j"]:
        """The encoder's attention."""
        return attention
