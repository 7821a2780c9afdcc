"""Slots to frames: each slot drawn on its own, and the drawings mixed. Paper, Eq. 1.

Watters et al. 2019; Locatello et al. 2020 (Slot Attention); Kipf et al. 2021 (SAVi).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.decoders.base import Drawing
from slotcli.kernels.position import PositionEmbedding
from slotcli.kernels.precision import rounded_for
from slotcli.types import Size


def _double(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1)


class SpatialBroadcast(nn.Module):
    """A slot is laid out on a coarse grid and doubled in size four times, to a picture and a share.

    `size` is a multiple of 16 in both directions.
    """

    doublings = 4

    def __init__(self, *, size: Size, slot_dim: int, channels: int) -> None:
        super().__init__()
        height, width = (side // 2**self.doublings for side in size)
        self.grid_size = (height, width)
        self.position = PositionEmbedding(slot_dim, self.grid_size)
        widths = [slot_dim] + [channels] * self.doublings
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [_double(inputs, outputs), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 4, 1))

    @property
    def networks(self) -> list[nn.Module]:
        """All that follows the slots' being laid out."""
        return [self.layers]

    def target(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The frames themselves."""
        return frames

    def loss(
        self, slots: Float[Tensor, "b n d"], target: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, ""]:
        """Mean squared error of the mixture over all pixels and channels. Paper, Eq. 1."""
        return F.mse_loss(self.mixture(slots), target)

    def pictures(
        self, slots: Float[Tensor, "b n d"]
    ) -> tuple[Float[Tensor, "b n 3 h w"], Float[Tensor, "b n h w"]]:
        """Each slot's picture, not clamped, and its share of every pixel: they sum to 1 over n."""
        grids = slots.flatten(0, 1)[:, :, None, None].expand(-1, -1, *self.grid_size)
        laid_out = rounded_for(self.layers, self.position(grids))
        drawn = self.layers(laid_out).to(slots.dtype).unflatten(0, slots.shape[:2])
        return drawn[:, :, :3], drawn[:, :, 3].softmax(dim=1)

    def mixture(self, slots: Float[Tensor, "b n d"]) -> Float[Tensor, "b 3 h w"]:
        """All slots' pictures, weighted by their shares; not clamped. Paper, Eq. 1."""
        pictures, shares = self.pictures(slots)
        return (pictures * shares[:, :, None]).sum(dim=1)

    # Frames are drawn one by one: a single one already fills the processor, with all its slots at
    # full size, and neither memory nor the last bit then depends on how many there are.

    @torch.no_grad()
    def render(self, slots: Float[Tensor, "b n d"], drawing: Drawing) -> Float[Tensor, "b 3 h w"]:
        """The mixture, clamped to [-1, 1]. There is one way of drawing it."""
        return torch.cat([self.mixture(frame) for frame in slots.split(1)]).clamp(-1, 1)

    @torch.no_grad()
    def soft_masks(
        self, slots: Float[Tensor, "b n d"], attention: Float[Tensor, "b n i j"]
    ) -> Float[Tensor, "b n h w"]:
        """Each slot's share of every pixel; the attention is not asked."""
        return torch.cat([self.pictures(frame)[1] for frame in slots.split(1)])
