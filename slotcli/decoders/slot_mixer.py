"""Slot mixer decoder: each patch reads a mixture of the slots, and is decoded once.

Sajjadi et al. 2022 (Object Scene Representation Transformer); Zadaianchuk et al. 2023 (VideoSAUR).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.compute.precision import cast_like
from slotcli.decoders.base import RenderOptions, no_pictures
from slotcli.types import Layout, Size

HEADS = 4


class _CrossAttention(nn.Module):
    """Attention of positions to slots; one projection has the weights of queries, keys, values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, queries: Float[Tensor, "b p d"], memory: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b p d"]:
        weights, biases = self.qkv.weight.chunk(3), self.qkv.bias.chunk(3)
        heads = [
            F.linear(x, weight, bias).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for x, weight, bias in zip((queries, memory, memory), weights, biases, strict=True)
        ]
        read = F.scaled_dot_product_attention(heads[0], heads[1], heads[2])
        return self.out_proj(read.transpose(1, 2).flatten(2))


class _Block(nn.Module):
    """Pre-norm cross-attention and feed-forward, each with a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.self_attn = _CrossAttention(width)
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, 4 * width)
        self.linear2 = nn.Linear(4 * width, width)

    def forward(
        self, x: Float[Tensor, "b p d"], memory: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b p d"]:
        x = x + self.self_attn(self.norm1(x), memory)
        return x + self.linear2(F.relu(self.linear1(self.norm2(x))))


class SlotMixer(nn.Module):
    """Mixes the slots at each patch of `grid`, and renders `outputs` numbers from the mixture.

    The first `features` outputs are the backbone's features; the others, if any, are a logit for
    every patch of the next frame. It reconstructs features, not frames.
    """

    draws = False

    def __init__(
        self, *, grid: Size, slot_dim: int, features: int, blocks: int, channels: int, layers: int
    ) -> None:
        super().__init__()
        self.grid = grid
        self.features = features
        patches = grid[0] * grid[1]
        self.positions = nn.Parameter(torch.empty(1, patches, slot_dim))
        nn.init.normal_(self.positions, std=slot_dim**-0.5)
        self.norm_memory = nn.LayerNorm(slot_dim)
        self.allocator = nn.ModuleList(_Block(slot_dim) for _ in range(blocks))
        self.norm_q, self.norm_k = nn.LayerNorm(slot_dim), nn.LayerNorm(slot_dim)
        self.to_q = nn.Linear(slot_dim, slot_dim, bias=False)
        self.to_k = nn.Linear(slot_dim, slot_dim, bias=False)
        widths = [slot_dim] + [channels] * layers
        self.renderer = nn.Sequential()
        for inputs, outputs in pairwise(widths):
            self.renderer.extend([nn.Linear(inputs, outputs), nn.ReLU()])
        self.renderer.append(nn.Linear(widths[-1], features + patches))

    @property
    def networks(self) -> list[nn.Module]:
        """The renderer."""
        return [self.renderer]

    def target(self, frames: Float[Tensor, "b 3 h w"]) -> Tensor:
        """Raises ValueError: the target is the backbone's features, `SlotTrack.features`."""
        raise ValueError("the target of this decoder is what the backbone gave the encoder")

    def loss(
        self,
        slots: Float[Tensor, "b n d"],
        target: Float[Tensor, "b c i j"],
        seen: Layout | None = None,
    ) -> Float[Tensor, ""]:
        """Mean squared error over patches and channels of features `target`; 0 without any."""
        if not self.features:
            return slots.new_zeros(())
        made = self.reconstruction(slots)[..., : self.features]
        return F.mse_loss(made, target.flatten(2).transpose(1, 2))

    def reconstruction(self, slots: Float[Tensor, "b n d"]) -> Float[Tensor, "b p c"]:
        """All outputs of each patch: features, if any, and logits of similarities."""
        mixture = self.allocation(slots) @ slots + self.positions
        return self.renderer(cast_like(self.renderer, mixture)).to(slots.dtype)

    def allocation(self, slots: Float[Tensor, "b n d"]) -> Float[Tensor, "b p n"]:
        """The weight of each slot in a patch's mixture; sums to 1 over n."""
        memory = self.norm_memory(slots)
        x = self.positions.expand(len(slots), -1, -1)
        for block in self.allocator:
            x = block(x, memory)
        queries = self.to_q(self.norm_q(x)) * slots.shape[-1] ** -0.5
        return (queries @ self.to_k(self.norm_k(slots)).mT).softmax(dim=2)

    def render(
        self, slots: Float[Tensor, "b n d"], options: RenderOptions, seen: Layout | None = None
    ) -> Float[Tensor, "b 3 h w"]:
        """Raises UnavailableError: features are no frames."""
        raise no_pictures()

    @torch.no_grad()
    def soft_masks(
        self, slots: Float[Tensor, "b n d"], attention: Float[Tensor, "b n i j"]
    ) -> Float[Tensor, "b n h w"]:
        """Mask probabilities on the grid of patches: `allocation`; nothing is rendered."""
        masks = [self.allocation(frame) for frame in slots.split(1)]
        return torch.cat(masks).transpose(1, 2).unflatten(2, self.grid)
