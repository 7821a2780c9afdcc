"""What every slot decoder offers; all of them see single frames, time belongs to the encoder."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from slotcli.diffusion.samplers import Sampler
from slotcli.types import Size


@runtime_checkable
class Decoder(Protocol):
    """Slots to a training loss, to frames, and to masks."""

    def target(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c i j"]:
        """What is learned to be drawn for frames in [-1, 1]; constant, so it may be stored."""
        ...

    def loss(
        self, slots: Float[Tensor, "b n d"], target: Float[Tensor, "b c i j"]
    ) -> Float[Tensor, ""]:
        """The training loss of slots against the target of their frames."""
        ...

    def render(
        self,
        slots: Float[Tensor, "b n d"],
        noise: Float[Tensor, "c i j"],
        sampler: Sampler,
        evaluations: int,
    ) -> Float[Tensor, "b 3 h w"]:
        """Frames in [-1, 1] drawn from slots; every frame starts from the same noise."""
        ...

    def noise(self, generator: torch.Generator) -> Float[Tensor, "c i j"]:
        """A starting point for `render`."""
        ...

    def masks(
        self, slots: Float[Tensor, "b n d"], attention: Float[Tensor, "b n i j"], size: Size
    ) -> UInt8[Tensor, "b h w"]:
        """The winning slot at every pixel of `size`."""
        ...
