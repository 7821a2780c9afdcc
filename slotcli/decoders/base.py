"""Contract of every slot decoder. Decoders see single frames; time belongs to the encoder."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from slotcli.diffusion.samplers import Sampler
from slotcli.errors import UnavailableError
from slotcli.types import Layout


@dataclass(frozen=True)
class RenderOptions:
    """Options of rendering; decoders without a sampler ignore them.

    `evaluations` (function evaluations per frame) and `noise_scale` default to the decoder's own
    values where they are None. `noise_scale` is the standard deviation of the initial noise: 1
    gives a sample, 0 nearly the posterior mean, which is smoother and nearer to the source.
    """

    sampler: Sampler = "singlestep"
    evaluations: int | None = None
    seed: int = 0
    noise_scale: float | None = None


@runtime_checkable
class Decoder(Protocol):
    """Maps slots to a training loss, to frames, and to masks."""

    draws: bool
    """Whether it renders frames; where it does not, `render` raises UnavailableError."""

    @property
    def networks(self) -> list[nn.Module]:
        """Modules that render frames and may do so in bfloat16 (`compute.precision.to_bf16`)."""
        ...

    def target(self, frames: Float[Tensor, "b 3 h w"]) -> Shaped[Tensor, "b *target"]:
        """Training target of frames in [-1, 1]; constant per frame, so it may be cached."""
        ...

    def loss(
        self,
        slots: Float[Tensor, "b n d"],
        target: Shaped[Tensor, "b *target"],
        seen: Layout | None = None,
    ) -> Float[Tensor, ""]:
        """Training loss of slots against the target of their frames.

        `seen` is for decoders that read more than slots; they raise ValueError if it is missing.
        """
        ...

    def render(
        self, slots: Float[Tensor, "b n d"], options: RenderOptions, seen: Layout | None = None
    ) -> Float[Tensor, "b 3 h w"]:
        """Renders frames in [-1, 1] from slots; each is independent of the rest of the batch."""
        ...

    def soft_masks(
        self, slots: Float[Tensor, "b n d"], attention: Float[Tensor, "b n i j"]
    ) -> Float[Tensor, "b n h w"]:
        """Soft masks: at each position they sum to 1 over n; the argmax gives the hard masks.

        A mixture decoder returns its mixture probabilities; other decoders return `attention`.
        """
        ...


def no_pictures() -> UnavailableError:
    """The error of a decoder of features that is asked for frames."""
    return UnavailableError(
        "This model's decoder reconstructs the backbone's features, which are no pictures.",
        "Use a model such as things-128 for pictures; masks and tracks need none.",
    )
