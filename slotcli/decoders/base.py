"""What every slot decoder offers; all of them see single frames, time belongs to the encoder."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from slotcli.diffusion.samplers import Sampler
from slotcli.types import Layout


@dataclass(frozen=True)
class Drawing:
    """How frames are drawn; a decoder that draws in one way only takes no notice.

    `evaluations` of the network a frame and `noise_scale` are the decoder's own where they are
    None. The latter is the standard deviation of the initial noise: 1 draws a sample, 0 nearly the
    mean of what may be, which is smoother and nearer to the source.
    """

    sampler: Sampler = "singlestep"
    evaluations: int | None = None
    seed: int = 0
    noise_scale: float | None = None


@runtime_checkable
class Decoder(Protocol):
    """Slots to a training loss, to frames, and to masks."""

    @property
    def networks(self) -> list[nn.Module]:
        """What draws frames and may do so at half precision (`kernels.precision.halve`)."""
        ...

    def target(self, frames: Float[Tensor, "b 3 h w"]) -> Shaped[Tensor, "b *target"]:
        """What is learned to be drawn for frames in [-1, 1]; constant, so it may be stored."""
        ...

    def loss(
        self,
        slots: Float[Tensor, "b n d"],
        target: Shaped[Tensor, "b *target"],
        seen: Layout | None = None,
    ) -> Float[Tensor, ""]:
        """The training loss of slots against the target of their frames.

        `seen` is for decoders that read more than slots; they raise ValueError where it lacks.
        """
        ...

    def render(
        self, slots: Float[Tensor, "b n d"], drawing: Drawing, seen: Layout | None = None
    ) -> Float[Tensor, "b 3 h w"]:
        """Frames in [-1, 1] drawn from slots, each the same whatever stands beside it."""
        ...

    def soft_masks(
        self, slots: Float[Tensor, "b n d"], attention: Float[Tensor, "b n i j"]
    ) -> Float[Tensor, "b n h w"]:
        """Each slot's share of every place of a map, summing to 1 over n, whose winners are masks.

        A decoder that mixes pictures has shares of its own; for others it is the attention.
        """
        ...
