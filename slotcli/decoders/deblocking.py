"""A linear filter that removes a codec's blocks from renderings (deblocking), fitted in one step.

Latents that a decoder renders lie between those of frames: smoother, and off the codec's codes.
There the codec, which saw latents of frames only, repeats a pattern with the period of a latent.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor, nn

_REACH = 3  # blocks per side that a block's pixels are computed from
_RIDGE = 1.0  # against a filter of few blocks; 500 frames of 128 x 128 have half a million


class Deblocking(nn.Module):
    """Adds to each block of an image a linear function of the blocks around it and of colours.

    `block` is the side in pixels of the square that a latent covers; each pixel of it has weights
    of its own, the same for red, green and blue. With `colours` it reads a second, coarser image.
    It starts without effect; `fit` gives it its weights. They are buffers: gradients do not train
    them, and processes that train together need not agree on them.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, block: int, *, colours: bool = False) -> None:
        super().__init__()
        self.block = block
        self.colours = colours
        pixels = block**2
        self.register_buffer("weight", torch.zeros(pixels, pixels + colours, _REACH, _REACH))
        self.register_buffer("bias", torch.zeros(pixels))

    def forward(
        self, image: Float[Tensor, "b 3 h w"], colours: Float[Tensor, "b 3 i j"] | None
    ) -> Float[Tensor, "b 3 h w"]:
        """The filtered image; `colours` are those of the slots' grids, of any size."""
        inputs = self._inputs(image, colours)
        added = F.conv2d(inputs, self.weight.to(inputs), self.bias.to(inputs))
        return image + F.pixel_shuffle(added, self.block).reshape(image.shape)

    @torch.no_grad()
    def fit(
        self,
        samples: Iterable[
            tuple[
                Float[Tensor, "b 3 h w"], Float[Tensor, "b 3 i j"] | None, Float[Tensor, "b 3 h w"]
            ]
        ],
    ) -> None:
        """Least squares, with a small ridge, over images, their colours and their frames.

        Without samples the filter stays as it is.
        """
        products: Float64[Tensor, "k k"] | None = None
        answers: Float64[Tensor, "k p"] | None = None
        for image, colours, frames in samples:
            inputs = self._inputs(image, colours)
            rows = F.unfold(inputs, _REACH).transpose(1, 2).flatten(0, 1).double()
            rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
            missing = F.pixel_unshuffle(_each(frames - image), self.block).double()
            wanted = missing.flatten(2).transpose(1, 2).flatten(0, 1)
            products = rows.T @ rows + (0 if products is None else products)
            answers = rows.T @ wanted + (0 if answers is None else answers)
        if products is None or answers is None:
            return
        ridge = _RIDGE * torch.eye(len(products), dtype=products.dtype, device=products.device)
        found = torch.linalg.solve(products + ridge, answers).T
        self.weight.copy_(found[:, :-1].unflatten(1, self.weight.shape[1:]))
        self.bias.copy_(found[:, -1])

    def _inputs(
        self, image: Float[Tensor, "b 3 h w"], colours: Float[Tensor, "b 3 i j"] | None
    ) -> Float[Tensor, "n c k l"]:
        """Of each colour of each image, blocks as channels, with a border of copies."""
        blocks = F.pixel_unshuffle(_each(image), self.block)
        if self.colours:
            if colours is None:
                raise ValueError("this filter reads the colours of the slots' grids")
            size = (blocks.shape[-2], blocks.shape[-1])
            coarse = F.interpolate(_each(colours).to(blocks), size, mode="area")
            blocks = torch.cat([blocks, coarse], dim=1)
        return F.pad(blocks, (_REACH // 2,) * 4, mode="replicate")


def _each(image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "n 1 h w"]:
    """Each colour as an image of its own."""
    return image.reshape(-1, 1, *image.shape[-2:])
