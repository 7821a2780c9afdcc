"""Backbones: the paper's modified ResNet18, and a compact network for small models."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.layers import group_norm


def _conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut. He et al. 2016, with GroupNorm for BatchNorm."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, stride)
        self.norm1 = group_norm(outputs, activation="relu")
        self.conv2 = _conv(outputs, outputs)
        self.norm2 = group_norm(outputs, activation="relu")
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(_conv(inputs, outputs, stride, kernel=1), group_norm(outputs))
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b e i j"]:
        y = self.norm1(self.conv1(x))
        return self.norm2(self.conv2(y), residual=self.shortcut(x))


class ResNet18(nn.Module):
    """Stride-1 stem without pooling and three of ResNet18's four stages.

    Output: 256 channels at a quarter of the input's size. Paper, appendix D.4.
    """

    width = 256
    stride = 4

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 64), group_norm(64, activation="relu"))
        self.stages = nn.Sequential(
            BasicBlock(64, 64),
            BasicBlock(64, 64),
            BasicBlock(64, 128, stride=2),
            BasicBlock(128, 128),
            BasicBlock(128, 256, stride=2),
            BasicBlock(256, 256),
        )
        _init_convolutions(self)

    def forward(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 256 i j"]:
        return self.stages(self.stem(frames))


class CompactCnn(nn.Module):
    """Fuses features at half the input's size with coarse features at a quarter of it.

    The fine scale resolves mask borders; the coarse one has the larger receptive field, at small
    cost. Output: twice `channels` at half the input's size.
    """

    stride = 2

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = 2 * channels
        self.stem = nn.Sequential(
            _conv(3, channels, stride=2, kernel=5), group_norm(channels, activation="relu")
        )
        self.fine = BasicBlock(channels, channels)
        self.coarse = nn.Sequential(
            BasicBlock(channels, 2 * channels, stride=2),
            BasicBlock(2 * channels, 2 * channels),
        )
        self.lateral = nn.Conv2d(channels, 2 * channels, 1)
        _init_convolutions(self)

    def forward(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c i j"]:
        fine = self.fine(self.stem(frames))
        coarse = F.interpolate(self.coarse(fine), size=fine.shape[-2:], mode="nearest")
        return torch.relu(self.lateral(fine) + coarse)


def _init_convolutions(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
