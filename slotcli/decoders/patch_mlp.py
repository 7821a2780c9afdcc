"""Patch MLP decoder: a mixture of features, one per slot, on the patches of a frozen backbone.

Seitzer et al. 2023 (DINOSAUR); Manasyan et al. 2025 (SlotContrast).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.compute.precision import cast_like
from slotcli.decoders.base import RenderOptions, no_pictures
from slotcli.types import Layout, Size


class PatchMlp(nn.Module):
    """Each slot, with a learned position added, to features of every patch and a mask logit.

    `grid` is that of the patches, `features` their width. It reconstructs features, not frames.
    """

    draws = False

    def __init__(
        self, *, grid: Size, slot_dim: int, features: int, channels: int, layers: int
    ) -> None:
        super().__init__()
        self.grid = grid
        self.features = features
        self.positions = nn.Parameter(torch.empty(1, 1, grid[0] * grid[1], slot_dim))
        nn.init.normal_(self.positions, std=slot_dim**-0.5)
        parts: list[nn.Module] = []
        for inputs, outputs in pairwise([slot_dim] + [channels] * layers):
            parts += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*parts, nn.Linear(channels, features + 1))

    @property
    def networks(self) -> list[nn.Module]:
        """The MLP."""
        return [self.layers]

    def target(self, frames: Float[Tensor, "b 3 h w"]) -> Tensor:
        """Raises ValueError: the target is the backbone's features, `SlotTrack.features`."""
        raise ValueError("the target of this decoder is what the backbone gave the encoder")

    def loss(
        self,
        slots: Float[Tensor, "b n d"],
        target: Float[Tensor, "b c i j"],
        seen: Layout | None = None,
    ) -> Float[Tensor, ""]:
        """Mean squared error over patches and channels of features `target`."""
        return F.mse_loss(self.reconstruction(slots), target.flatten(2).transpose(1, 2))

    def reconstruction(self, slots: Float[Tensor, "b n d"]) -> Float[Tensor, "b p c"]:
        """Features of each patch: the mean of the slots' under their mask probabilities."""
        placed = cast_like(self.layers, slots[:, :, None] + self.positions)
        decoded = self.layers(placed).to(slots.dtype)
        masks = decoded[..., -1:].softmax(dim=1)
        return (decoded[..., :-1] * masks).sum(dim=1)

    def render(
        self, slots: Float[Tensor, "b n d"], options: RenderOptions, seen: Layout | None = None
    ) -> Float[Tensor, "b 3 h w"]:
        """Raises UnavailableError: features are no frames."""
        raise no_pictures()

    @torch.no_grad()
    def soft_masks(
        self, slots: Float[Tensor, "b n d"], attention: Float[Tensor, "b n i j"]
    ) -> Float[Tensor, "b n h w"]:
        """Mask probabilities on the grid of patches; ignores `attention`.

        Of the last layer only the logit of the masks is computed, frame by frame, as in DE3.
        """
        hidden, last = self.layers[:-1], self.layers[-1]
        assert isinstance(last, nn.Linear)
        masks = []
        for frame in slots.split(1):
            placed = cast_like(self.layers, frame[:, :, None] + self.positions)
            logits = F.linear(hidden(placed), last.weight[-1:], last.bias[-1:])
            masks.append(logits.to(slots.dtype)[..., 0].softmax(dim=1))
        return torch.cat(masks).unflatten(2, self.grid)
