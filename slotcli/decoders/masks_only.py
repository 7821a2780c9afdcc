"""No decoder: a model that finds objects and draws nothing, trained by a loss on its masks."""

from jaxtyping import Float
from torch import Tensor, nn

from slotcli.decoders.base import Drawing
from slotcli.errors import UnavailableError
from slotcli.types import Layout


class MasksOnly(nn.Module):
    """Stands where a decoder would; its masks are the encoder's attention."""

    networks: list[nn.Module] = []  # noqa: RUF012 - there are none to be changed

    def target(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 0"]:
        """Nothing, for nothing is drawn."""
        return frames.new_zeros(len(frames), 0)

    def loss(
        self,
        slots: Float[Tensor, "b n d"],
        target: Float[Tensor, "b 0"],
        seen: Layout | None = None,
    ) -> Float[Tensor, ""]:
        """0, which depends on nothing."""
        return slots.new_zeros(())

    def render(
        self, slots: Float[Tensor, "b n d"], drawing: Drawing, seen: Layout | None = None
    ) -> Float[Tensor, "b 3 h w"]:
        """Raises UnavailableError: there is nothing that draws."""
        raise UnavailableError(
            "This model has no decoder: it finds objects and draws nothing.",
            "Use a model with a decoder for pictures; masks and tracks need none.",
        )

    def soft_masks(
        self, slots: Float[Tensor, "b n d"], attention: Float[Tensor, "b n i j"]
    ) -> Float[Tensor, "b n i j"]:
        """The encoder's attention."""
        return attention
