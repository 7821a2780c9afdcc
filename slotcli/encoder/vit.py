"""A plain vision transformer as a frozen backbone: DINO, DINOv2 with or without registers, DINOv3.

Dosovitskiy et al. 2021; Caron et al. 2021; Oquab et al. 2024; Darcet et al. 2024; Siméoni et al.
2025. The tensors have the names of timm's VisionTransformer, which the published slot models use as
well.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.encoder.rotary import Rotation, rotated, rotation
from slotcli.types import Size

_EPS, _ROTARY_EPS = 1e-6, 1e-5  # of every LayerNorm: up to DINOv2, and in DINOv3
_EXPANSION = 4
# ImageNet's statistics of RGB in [0, 1], by which all of these networks were trained.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


class _PatchEmbedding(nn.Module):
    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "b p d"], turn: Rotation | None = None
    ) -> Float[Tensor, "b p d"]:
        queries, keys, values = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if turn is not None:
            queries, keys = rotated(queries, turn), rotated(keys, turn)
        read = F.scaled_dot_product_attention(queries, keys, values)
        return self.proj(read.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, _EXPANSION * width)
        self.fc2 = nn.Linear(_EXPANSION * width, width)

    def forward(self, x: Float[Tensor, "b p d"]) -> Float[Tensor, "b p d"]:
        return self.fc2(F.gelu(self.fc1(x)))


class _LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "b p d"]) -> Float[Tensor, "b p d"]:
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm attention and MLP, each with a shortcut and, from DINOv2 on, a scale per channel."""

    def __init__(self, width: int, heads: int, layer_scale: bool, eps: float = _EPS) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = _Attention(width, heads)
        self.ls1 = _LayerScale(width) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = _Mlp(width)
        self.ls2 = _LayerScale(width) if layer_scale else nn.Identity()

    def forward(
        self, x: Float[Tensor, "b p d"], turn: Rotation | None = None
    ) -> Float[Tensor, "b p d"]:
        x = x + self.ls1(self.attn(self.norm1(x), turn))
        return x + self.ls2(self.mlp(self.norm2(x)))

    def keys(self, x: Float[Tensor, "b p d"]) -> Float[Tensor, "b p d"]:
        """Keys that the block's attention forms of its input, all heads together, not turned."""
        width = x.shape[2]
        rows = slice(width, 2 * width)
        return F.linear(self.norm1(x), self.attn.qkv.weight[rows], self.attn.qkv.bias[rows])


class Vit(nn.Module):
    """Patch tokens after the last block, before any final norm: `width` channels, a map per frame.

    Frames are in [-1, 1], of any multiple of `patch` pixels; the positions of `grid` patches are
    resampled for other numbers of them. Without a grid, positions are rotary, as in DINOv3. With
    `with_keys`, and where gradients are computed, the keys of the last block follow as `width` more
    channels. While its weights are frozen it runs without gradients.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        *,
        patch: int,
        width: int,
        heads: int,
        blocks: int,
        grid: Size | None,
        layer_scale: bool = True,
        registers: int = 0,
        with_keys: bool = False,
    ) -> None:
        super().__init__()
        self.width = width
        self.stride = patch
        self.grid = grid
        self.with_keys = with_keys
        self.patch_embed = _PatchEmbedding(patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        # With registers the table has no row for the class token.
        self.reg_token = nn.Parameter(torch.zeros(1, registers, width)) if registers else None
        self.pos_embed = None
        if grid is not None:
            rows = grid[0] * grid[1] + (0 if registers else 1)
            self.pos_embed = nn.Parameter(torch.empty(1, rows, width))
            nn.init.normal_(self.pos_embed, std=0.02)
        eps = _EPS if grid is not None else _ROTARY_EPS
        self._head = width // heads
        self.blocks = nn.ModuleList(Block(width, heads, layer_scale, eps) for _ in range(blocks))
        for name, values in (("mean", _MEAN), ("deviation", _DEVIATION)):
            # On the CPU even in a build on the meta device; see PositionEmbedding.
            constant = torch.tensor(values, device="cpu")[:, None, None]
            self.register_buffer(name, constant, persistent=False)

    def forward(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c i j"]:
        learns = torch.is_grad_enabled() and self.cls_token.requires_grad
        with_keys = self.with_keys and torch.is_grad_enabled()
        # On a CPU one frame already fills the cores; more at once take memory, and would let the
        # last bits of a frame depend on its neighbours.
        parts = frames.split(1) if frames.device.type == "cpu" else [frames]
        with torch.set_grad_enabled(learns):
            return torch.cat([self._maps(part, with_keys) for part in parts])

    def _maps(self, frames: Float[Tensor, "b 3 h w"], with_keys: bool) -> Float[Tensor, "b c i j"]:
        size = frames.shape[-2] // self.stride, frames.shape[-1] // self.stride
        x = self._embedded(frames)
        prefix = x.shape[1] - size[0] * size[1]
        turn = None if self.grid else rotation(size, self._head, prefix, x.device)
        for block in self.blocks[:-1]:
            x = block(x, turn)
        last = self.blocks[-1]
        assert isinstance(last, Block)
        read = last(x, turn)
        parts = [read, last.keys(x)] if with_keys else [read]
        tokens = torch.cat([part[:, prefix:] for part in parts], dim=2)
        return tokens.transpose(1, 2).unflatten(2, size)

    def _embedded(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b p d"]:
        """The class token, the registers if any, and the patches row by row, with positions."""
        unit = (frames + 1) / 2
        maps = self.patch_embed.proj((unit - self.mean.to(unit)) / self.deviation.to(unit))
        patches = maps.flatten(2).transpose(1, 2)
        before, table = self._positions((maps.shape[-2], maps.shape[-1]))
        prefix = [(self.cls_token + before).expand(len(frames), -1, -1)]
        if self.reg_token is not None:
            prefix.append(self.reg_token.expand(len(frames), -1, -1))
        return torch.cat([*prefix, patches + table], dim=1)

    def _positions(self, size: Size) -> tuple[Tensor, Tensor]:
        """Positions of the class token [1 1 d], 0 if it has none, and of `size` patches [1 p d].

        Resampled as timm does (bicubic with antialiasing, in float32); Meta's own code shifts the
        grid, and gives other features.
        """
        table, before = self.pos_embed, self.cls_token.new_zeros(1, 1, 1)
        if table is None or self.grid is None:
            return before, before
        if self.reg_token is None:
            before, table = table[:, :1], table[:, 1:]
        if size == self.grid:
            return before, table
        grid = table.transpose(1, 2).unflatten(2, self.grid).float()
        grid = F.interpolate(grid, size=size, mode="bicubic", antialias=True)
        return before, grid.flatten(2).transpose(1, 2).to(table.dtype)
