"""Rotary positions: queries and keys turn by angles of their patch's position, as in DINOv3.

Su et al. 2021 (RoFormer); Siméoni et al. 2025 (DINOv3).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from slotcli.types import Size

_BASE = 100.0  # the longest period is nearly this, the shortest 1, in halves of the frame

Rotation = tuple[Float[Tensor, "p e"], Float[Tensor, "p e"]]


def rotation(size: Size, width: int, prefix: int, device: torch.device) -> Rotation:
    """Cosines and sines of `prefix` tokens, which do not turn, and of a grid of patches by rows.

    `width` is that of a head, a multiple of 4: a quarter each for the sine and cosine of rows and
    columns. A patch's centre is from -1 to 1 on either axis, whatever the frame's shape. float32.
    Meta's files hold the periods rounded to bfloat16, timm computes them, and so does this.
    """
    rows, columns = (
        2 * ((torch.arange(side, device=device, dtype=torch.float32) + 0.5) / side) - 1
        for side in size
    )
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1)
    steps = torch.arange(width // 4, device=device, dtype=torch.float32)
    periods = _BASE ** (2 * steps / (width // 2))
    angles = (2 * math.pi * places[:, :, None] / periods).flatten(1).tile(2)
    angles = torch.cat([angles.new_zeros(prefix, width), angles])
    return angles.cos(), angles.sin()


def rotated(heads: Float[Tensor, "b n p d"], by: Rotation) -> Float[Tensor, "b n p d"]:
    """Queries or keys of each head, turned: channel i with channel i + d / 2."""
    cosines, sines = by
    first, second = heads.chunk(2, dim=-1)
    turned = heads * cosines + torch.cat([-second, first], dim=-1) * sines
    return turned.to(heads.dtype)
