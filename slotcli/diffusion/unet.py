"""The denoising U-Net with cross-attention to a context. Rombach et al. 2022 (LDM); paper, D.4."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.errors import ConfigError
from slotcli.kernels import absorbing_pays, slot_cross_attention
from slotcli.layers import PositionEmbedding, group_norm, set_to_zero
from slotcli.types import Size

HEAD_DIM = 32
DROPOUT = 0.1


class KeysValues(NamedTuple):
    """Keys and values of the context for one cross-attention layer."""

    keys: Float[Tensor, "b heads n 32"]
    values: Float[Tensor, "b heads n 32"]


class Absorbed(NamedTuple):
    """Context with the layer's weights absorbed into it, for `kernels.slot_cross_attention`."""

    queries: Float[Tensor, "b m c"]
    offset: Float[Tensor, "b m"]
    values: Float[Tensor, "b m c"]


LayerContext = KeysValues | Absorbed


def timestep_embedding(step: Float[Tensor, " b"], width: int) -> Float[Tensor, "b {width}"]:
    """Cosines, then sines, of the step at width / 2 frequencies from 1 to 1/10,000."""
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=step.device) / half)
    angles = step.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class ResBlock(nn.Module):
    """Two convolutions with the time embedding added between them."""

    def __init__(self, inputs: int, outputs: int, time_width: int) -> None:
        super().__init__()
        self.norm1 = group_norm(inputs, activation="silu")
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time_width, outputs)
        self.norm2 = group_norm(outputs, activation="silu")
        self.dropout = nn.Dropout(DROPOUT)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        set_to_zero(self.conv2)

    def forward(
        self, x: Float[Tensor, "b c h w"], time: Float[Tensor, "b e"]
    ) -> Float[Tensor, "b d h w"]:
        y = self.norm2(self.conv1(self.norm1(x)), shift=self.time(F.silu(time)))
        return self.shortcut(x) + self.conv2(self.dropout(y))


class Attention(nn.Module):
    """Multi-head attention of positions to a context, heads of 32 channels.

    Raises ConfigError where the channels do not divide into heads.
    """

    def __init__(self, channels: int, context_dim: int) -> None:
        super().__init__()
        if channels % HEAD_DIM:
            raise ConfigError(
                f"Attention over {channels} channels does not divide into heads of {HEAD_DIM}.",
                "Change decoder.channels or multipliers; all levels but the first attend.",
            )
        self.queries = nn.Linear(channels, channels, bias=False)
        self.keys = nn.Linear(context_dim, channels, bias=False)
        self.values = nn.Linear(context_dim, channels, bias=False)
        self.out = nn.Linear(channels, channels)

    def project(self, context: Float[Tensor, "b n d"]) -> KeysValues:
        return KeysValues(_heads(self.keys(context)), _heads(self.values(context)))

    def forward(self, x: Float[Tensor, "b p c"], keys_values: KeysValues) -> Float[Tensor, "b p c"]:
        read = F.scaled_dot_product_attention(_heads(self.queries(x)), *keys_values)
        return self.out(read.transpose(1, 2).flatten(2))

    def absorb(self, context: KeysValues, norm: nn.LayerNorm) -> Absorbed:
        """Absorbs this layer's projections and the affine part of `norm` into the context."""
        heads = context.keys.shape[1]
        queries = self.queries.weight.unflatten(0, (heads, HEAD_DIM))
        values = self.out.weight.unflatten(1, (heads, HEAD_DIM))
        scaled = context.keys * HEAD_DIM**-0.5
        into = torch.einsum("bhnd,hdc->bnhc", scaled, queries).flatten(1, 2)
        # Attention weights sum to 1 per head: bias / heads in every value adds the bias once.
        out = torch.einsum("bhnd,chd->bnhc", context.values, values) + self.out.bias / heads
        return Absorbed(into * norm.weight, into @ norm.bias, out.flatten(1, 2))


class FeedForward(nn.Module):
    """GEGLU, four times as wide inside. Shazeer 2020."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Linear(channels, 8 * channels)
        self.outer = nn.Linear(4 * channels, channels)

    def forward(self, x: Float[Tensor, "b p c"]) -> Float[Tensor, "b p c"]:
        # Two products: halves of one product would be strided, which slows the operations on them.
        weights, biases = self.inner.weight.chunk(2), self.inner.bias.chunk(2)
        values, gates = (F.linear(x, w, b) for w, b in zip(weights, biases, strict=True))
        return self.outer(values * F.gelu(gates))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention to the context, feed-forward, over the positions of a map."""

    def __init__(self, channels: int, context_dim: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, eps=1e-6)
        self.project_in = nn.Conv2d(channels, channels, 1)
        self.norm_self = nn.LayerNorm(channels)
        self.self_attention = Attention(channels, channels)
        self.norm_cross = nn.LayerNorm(channels)
        self.cross_attention = Attention(channels, context_dim)
        self.norm_feed = nn.LayerNorm(channels)
        self.feed_forward = FeedForward(channels)
        self.project_out = nn.Conv2d(channels, channels, 1)
        set_to_zero(self.project_out)

    def forward(
        self, x: Float[Tensor, "b c h w"], context: LayerContext
    ) -> Float[Tensor, "b c h w"]:
        tokens = self.project_in(self.norm(x)).flatten(2).transpose(1, 2)
        normed = self.norm_self(tokens)
        tokens = tokens + self.self_attention(normed, self.self_attention.project(normed))
        tokens = self._cross(tokens, context)
        tokens = tokens + self.feed_forward(self.norm_feed(tokens))
        return x + self.project_out(tokens.transpose(1, 2).unflatten(2, x.shape[2:]))

    def _cross(
        self, tokens: Float[Tensor, "b p c"], context: LayerContext
    ) -> Float[Tensor, "b p c"]:
        if isinstance(context, KeysValues):
            return tokens + self.cross_attention(self.norm_cross(tokens), context)
        heads = tokens.shape[2] // HEAD_DIM
        return slot_cross_attention(tokens, *context, heads=heads, eps=self.norm_cross.eps)


class Stage(nn.Module):
    """One residual block, followed by a transformer block at levels with attention."""

    def __init__(
        self, inputs: int, outputs: int, level: int, time_width: int, context_dim: int | None
    ) -> None:
        super().__init__()
        self.level = level
        self.res = ResBlock(inputs, outputs, time_width)
        self.transformer = None if context_dim is None else TransformerBlock(outputs, context_dim)

    def forward(self, x: Tensor, time: Tensor, context: list[LayerContext]) -> Tensor:
        """Pops its own entry off the front of `context`."""
        x = self.res(x, time)
        return x if self.transformer is None else self.transformer(x, context.pop(0))


class UNet(nn.Module):
    """Predicts the diffusion target of a noisy map at a time, given a context of vectors.

    Every level but the first has self-attention and cross-attention to the context. With
    attention at the first level the context could reach every single latent, and slots would be
    superfluous. `positions`, the size of the maps, adds a position embedding, which the paper's
    network lacks. With `predicted_channels` the output has that many channels; the input's further
    channels are conditioning maps, concatenated to the noisy map.
    """

    def __init__(
        self,
        map_channels: int,
        channels: int,
        multipliers: tuple[int, ...],
        res_blocks: int,
        context_dim: int,
        positions: Size | None = None,
        predicted_channels: int | None = None,
    ) -> None:
        super().__init__()
        widths = [channels * multiplier for multiplier in multipliers]
        dims = [None if level == 0 else context_dim for level in range(len(widths))]
        time_width = 4 * channels
        self.channels = channels
        self.time = nn.Sequential(
            nn.Linear(channels, time_width), nn.SiLU(), nn.Linear(time_width, time_width)
        )
        self.conv_in = nn.Conv2d(map_channels, channels, 3, padding=1)
        self.position = nn.Identity()
        if positions is not None:
            self.position = PositionEmbedding(channels, positions)
            set_to_zero(self.position.project)
        self.down = nn.ModuleList()
        self.downsample = nn.ModuleList()

        width, skips = channels, [channels]
        for level, outputs in enumerate(widths):
            if level:
                self.downsample.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)
            stages = nn.ModuleList()
            for _ in range(res_blocks):
                stages.append(Stage(width, outputs, level, time_width, dims[level]))
                width = outputs
                skips.append(width)
            self.down.append(stages)
        self.middle = Stage(width, width, len(widths) - 1, time_width, context_dim)
        self.middle_out = ResBlock(width, width, time_width)
        self.up = nn.ModuleList()
        self.upsample = nn.ModuleList()
        for level, outputs in reversed(list(enumerate(widths))):
            stages = nn.ModuleList()
            for _ in range(res_blocks + 1):
                inputs = width + skips.pop()
                stages.append(Stage(inputs, outputs, level, time_width, dims[level]))
                width = outputs
            self.up.append(stages)
            if level:
                self.upsample.append(nn.Conv2d(width, width, 3, padding=1))
        self.head = nn.Sequential(
            # Identity: keeps the convolution's index, and so its name in checkpoints, from the
            # time when a separate SiLU preceded it.
            group_norm(width, activation="silu"),
            nn.Identity(),
            nn.Conv2d(width, predicted_channels or map_channels, 3, padding=1),
        )
        set_to_zero(self.head[-1])

    def project_context(
        self, context: Float[Tensor, "b n d"], size: Size | None = None
    ) -> list[LayerContext]:
        """Projects the context for all cross-attention layers, in the order of `forward`.

        That is the order of registration: down, middle, up. The projections do not depend on the
        time, so a sampler computes them once for all function evaluations. Given the `size` of the
        maps to denoise, layers absorb their weights into them where that is faster; absorbed
        weights carry no gradients.
        """
        return [
            _layer_context(stage.transformer, context, size and _halved(size, stage.level))
            for stage in self.modules()
            if isinstance(stage, Stage) and stage.transformer is not None
        ]

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        step: Float[Tensor, " b"],
        context: list[LayerContext],
    ) -> Float[Tensor, "b e h w"]:
        """The prediction for a noisy map; `step` may lie between the integer steps of training."""
        time = self.time(timestep_embedding(step, self.channels).to(x.dtype))
        context = list(context)
        x = self.position(self.conv_in(x))
        skips = [x]
        for level, stages in enumerate(self.down):
            if level:
                x = self.downsample[level - 1](x)
                skips.append(x)
            for stage in stages.children():
                x = stage(x, time, context)
                skips.append(x)
        x = self.middle_out(self.middle(x, time, context), time)
        for level, stages in enumerate(self.up):
            for stage in stages.children():
                x = stage(torch.cat([x, skips.pop()], dim=1), time, context)
            if level < len(self.upsample):
                x = self.upsample[level](F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.head(x)


def _layer_context(
    block: TransformerBlock, context: Float[Tensor, "b n d"], size: Size | None
) -> LayerContext:
    layer, channels = block.cross_attention, block.cross_attention.queries.in_features
    keys_values = layer.project(context)
    if size is not None and absorbing_pays(
        context.device,
        frames=len(context),
        positions=size[0] * size[1],
        channels=channels,
        slots=context.shape[1],
        heads=channels // HEAD_DIM,
    ):
        return layer.absorb(keys_values, block.norm_cross)
    return keys_values


def _halved(size: Size, times: int) -> Size:
    """Size of a map after `times` downsamplings, which round up."""
    return -(-size[0] >> times), -(-size[1] >> times)


def _heads(x: Float[Tensor, "b p c"]) -> Float[Tensor, "b heads p 32"]:
    return x.unflatten(2, (-1, HEAD_DIM)).transpose(1, 2)
