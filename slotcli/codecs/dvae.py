"""The discrete VAE whose tokens SLATE and STEVE predict. Singh et al. 2021, 2022."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from slotcli.types import Size

# Frames in one batch: logits or one-hot codes take 16 MiB per frame as published.
_FRAMES = 8


@dataclass(frozen=True)
class DvaeOutput:
    frames: Float[Tensor, "b 3 h w"]
    tokens: Int64[Tensor, "b p"]


class ConvBlock(nn.Module):
    """Convolution without bias, GroupNorm with a single group, ReLU; `stride` divides the size."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        padding = (kernel - stride) // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm = nn.GroupNorm(1, outputs)
        nn.init.kaiming_uniform_(self.conv.weight, nonlinearity="relu")

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b e i j"]:
        return F.relu(self.norm(self.conv(x)))


class Dvae(nn.Module):
    """A convolutional autoencoder with one of `num_codes` codes for each 4x4 block of pixels."""

    def __init__(self, channels: int, num_codes: int) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.encoder = nn.Sequential(
            ConvBlock(3, channels, kernel=4, stride=4),
            *(ConvBlock(channels, channels) for _ in range(6)),
            _head(channels, num_codes),
        )
        self.decoder = nn.Sequential(
            ConvBlock(num_codes, channels),
            *_doubling(channels),
            *_doubling(channels),
            _head(channels, 3),
        )

    def encode(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k i j"]:
        """Logits of all codes at each position of frames in [-1, 1]; the argmax is the token."""
        return self.encoder(frames)

    def decode(self, logits: Float[Tensor, "b k i j"]) -> Float[Tensor, "b 3 h w"]:
        """Frames from the most likely code at each position; not clamped to [-1, 1]."""
        height, width = logits.shape[2:]
        return self.decode_tokens(_tokens(logits), (height, width))

    def tokens(self, frames: Float[Tensor, "b 3 h w"]) -> Int64[Tensor, "b p"]:
        """The most likely code of each block of frames in [-1, 1], row by row."""
        return torch.cat([_tokens(self.encode(part)) for part in frames.split(_FRAMES)])

    def decode_tokens(self, tokens: Int64[Tensor, "b p"], grid: Size) -> Float[Tensor, "b 3 h w"]:
        """Frames of four times the grid's size from its tokens; not clamped to [-1, 1]."""
        weight = self.decoder.get_parameter("0.conv.weight")
        frames: list[Tensor] = []
        for part in tokens.split(_FRAMES):
            one_hot = weight.new_zeros(len(part), self.num_codes, part.shape[1])
            one_hot.scatter_(1, part[:, None], 1.0)
            frames.append(self.decoder(one_hot.unflatten(2, grid)))
        return torch.cat(frames)

    def forward(self, frames: Float[Tensor, "b 3 h w"], temperature: float) -> DvaeOutput:
        """Reconstruction from relaxed codes, as in training, and the hard tokens.

        The relaxed codes are Gumbel-softmax samples (Jang et al. 2017); the lower the `temperature`
        (above 0), the nearer they are to one-hot.
        """
        logits = self.encode(frames)
        mixtures = F.gumbel_softmax(logits, tau=temperature, dim=1)
        return DvaeOutput(frames=self.decoder(mixtures), tokens=_tokens(logits))


def _tokens(logits: Float[Tensor, "b k i j"]) -> Int64[Tensor, "b p"]:
    return logits.argmax(dim=1).flatten(1)


def _head(channels: int, outputs: int) -> nn.Conv2d:
    head = nn.Conv2d(channels, outputs, 1)
    nn.init.xavier_uniform_(head.weight)
    nn.init.zeros_(head.get_parameter("bias"))
    return head


def _doubling(channels: int) -> list[nn.Module]:
    """One of the decoder's two stages; it doubles the size of a map."""
    return [
        ConvBlock(channels, channels, kernel=3),
        ConvBlock(channels, channels),
        ConvBlock(channels, channels),
        ConvBlock(channels, 4 * channels),
        nn.PixelShuffle(2),
    ]
