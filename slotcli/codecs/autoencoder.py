"""The convolutional encoder and decoder of the VQ-VAE. Esser et al. 2021 (taming), as in LDM."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.layers import group_norm, set_to_zero


class ResBlock(nn.Module):
    """Twice GroupNorm, SiLU and a 3x3 convolution, with a shortcut; initially only the shortcut.

    Twenty randomly initialised branches in a row drown the signal of the shortcuts, colour above
    all: codecs with such a start decoded to grey frames for hundreds of steps.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = group_norm(inputs, eps=1e-6, activation="silu")
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = group_norm(outputs, eps=1e-6, activation="silu")
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        set_to_zero(self.conv2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b e h w"]:
        y = self.conv1(self.norm1(x))
        return self.shortcut(x) + self.conv2(self.norm2(y))


class Attention(nn.Module):
    """Single-head self-attention over all positions, with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, eps=1e-6)
        self.queries = nn.Conv2d(channels, channels, 1)
        self.keys = nn.Conv2d(channels, channels, 1)
        self.values = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        set_to_zero(self.out)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        normed = self.norm(x)
        q, k, v = (
            layer(normed).flatten(2).transpose(1, 2)[:, None]
            for layer in (self.queries, self.keys, self.values)
        )
        read = F.scaled_dot_product_attention(q, k, v)[:, 0]
        return x + self.out(read.transpose(1, 2).unflatten(2, x.shape[2:]))


class Downsample(nn.Module):
    """Halves the size of a map; pads only on the right and below, as published."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles the size of a map: nearest neighbour, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _middle(channels: int) -> list[nn.Module]:
    return [ResBlock(channels, channels), Attention(channels), ResBlock(channels, channels)]


def _head(channels: int, outputs: int) -> list[nn.Module]:
    # Identity: keeps the convolution's index, and so its name in checkpoints, from the time when a
    # separate SiLU preceded it.
    norm = group_norm(channels, eps=1e-6, activation="silu")
    return [norm, nn.Identity(), nn.Conv2d(channels, outputs, 3, padding=1)]


def encoder(
    channels: int, multipliers: tuple[int, ...], res_blocks: int, latent_channels: int
) -> nn.Sequential:
    """A network from frames [b 3 h w] to maps [b latent_channels h/f w/f], f = 2^(levels - 1)."""
    widths = [channels * multiplier for multiplier in multipliers]
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1)]
    width = channels
    for level, outputs in enumerate(widths):
        if level:
            layers.append(Downsample(width))
        for _ in range(res_blocks):
            layers.append(ResBlock(width, outputs))
            width = outputs
    return nn.Sequential(*layers, *_middle(width), *_head(width, latent_channels))


def decoder(
    channels: int, multipliers: tuple[int, ...], res_blocks: int, latent_channels: int
) -> nn.Sequential:
    """Mirror of `encoder`, with one more residual block per level."""
    widths = [channels * multiplier for multiplier in reversed(multipliers)]
    width = widths[0]
    layers: list[nn.Module] = [nn.Conv2d(latent_channels, width, 3, padding=1), *_middle(width)]
    for level, outputs in enumerate(widths):
        if level:
            layers.append(Upsample(width))
        for _ in range(res_blocks + 1):
            layers.append(ResBlock(width, outputs))
            width = outputs
    return nn.Sequential(*layers, *_head(width, 3))
