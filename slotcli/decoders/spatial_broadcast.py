"""Spatial broadcast decoder: a mixture of one decoded image per slot. Paper, Eq. 1.

Watters et al. 2019; Locatello et al. 2020 (Slot Attention); Kipf et al. 2021 (SAVi).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.codecs.base import Codec
from slotcli.compute.precision import cast_like
from slotcli.decoders.base import RenderOptions
from slotcli.layers import PositionEmbedding
from slotcli.types import Layout, Size

DOUBLINGS = 4  # from the grid to the frames' size


def _double(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1)


class SpatialBroadcast(nn.Module):
    """Broadcasts each slot to a coarse grid and upsamples it to an image and a mask.

    The grid is a sixteenth of the frames' `size`, which is a multiple of 16 in both directions.
    The output is the frames themselves, or the `depth` channels of a frozen codec's latents, which
    need fewer `doublings`.
    """

    draws = True

    def __init__(
        self,
        *,
        size: Size,
        slot_dim: int,
        channels: int,
        codec: Codec | None = None,
        depth: int = 3,
        doublings: int = DOUBLINGS,
    ) -> None:
        super().__init__()
        height, width = (side // 2**DOUBLINGS for side in size)
        self.grid_size = (height, width)
        self.position = PositionEmbedding(slot_dim, self.grid_size)
        widths = [slot_dim] + [channels] * doublings
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [_double(inputs, outputs), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], depth + 1, 1))
        if codec is not None and not isinstance(codec, nn.Module):
            raise TypeError("the codec has to be a module, so that it is saved with the decoder")
        self.codec = None if codec is None else codec.requires_grad_(False)

    def train(self, mode: bool = True) -> "SpatialBroadcast":
        """Sets the training mode of all modules but the codec, which is frozen."""
        super().train(mode)
        if self.codec is not None:
            self.codec.eval()
        return self

    @property
    def networks(self) -> list[nn.Module]:
        """The layers after the broadcast, and the codec's."""
        return [self.layers, *([] if self.codec is None else self.codec.networks)]

    @torch.no_grad()
    def target(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c i j"]:
        """The frames themselves, or their latents before quantisation."""
        return frames if self.codec is None else self.codec.encode(frames)

    def loss(
        self,
        slots: Float[Tensor, "b n d"],
        target: Float[Tensor, "b c i j"],
        seen: Layout | None = None,
    ) -> Float[Tensor, ""]:
        """Mean squared error of the mixture over all positions and channels. Paper, Eq. 1."""
        return F.mse_loss(self.mixture(slots), target)

    def pictures(
        self, slots: Float[Tensor, "b n d"]
    ) -> tuple[Float[Tensor, "b n c i j"], Float[Tensor, "b n i j"]]:
        """Image of each slot, not clamped, and its mixture probabilities, which sum to 1 over n."""
        grids = slots.flatten(0, 1)[:, :, None, None].expand(-1, -1, *self.grid_size)
        broadcast = cast_like(self.layers, self.position(grids))
        decoded = self.layers(broadcast).to(slots.dtype).unflatten(0, slots.shape[:2])
        return decoded[:, :, :-1], decoded[:, :, -1].softmax(dim=1)

    def mixture(self, slots: Float[Tensor, "b n d"]) -> Float[Tensor, "b c i j"]:
        """Mean of the slots' images under the mixture probabilities; not clamped. Paper, Eq. 1."""
        images, masks = self.pictures(slots)
        return (images * masks[:, :, None]).sum(dim=1)

    # Frames are decoded one by one: one frame with all its slots at full size already saturates the
    # device, and so neither the memory nor the result's bits depend on the batch size.

    @torch.no_grad()
    def render(
        self, slots: Float[Tensor, "b n d"], options: RenderOptions, seen: Layout | None = None
    ) -> Float[Tensor, "b 3 h w"]:
        """The mixture, through the codec's decoder if any, clamped; ignores `options`."""
        mixtures = [self.mixture(frame) for frame in slots.split(1)]  # DE3
        if self.codec is not None:
            mixtures = [self.codec.decode(latents) for latents in mixtures]
        return torch.cat(mixtures).clamp(-1, 1)

    @torch.no_grad()
    def soft_masks(
        self, slots: Float[Tensor, "b n d"], attention: Float[Tensor, "b n i j"]
    ) -> Float[Tensor, "b n h w"]:
        """Mixture probabilities of the slots at the decoder's size; ignores `attention`."""
        return torch.cat([self.pictures(frame)[1] for frame in slots.split(1)])
