"""EfficientNet-Lite0 as a feature extractor, and a feature pyramid over its levels.

Tan and Le 2019 (EfficientNet); "Lite" has ReLU6 for Swish and no squeeze-and-excitation. Each
BatchNorm is folded into the convolution before it, so training and evaluation compute the same.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.layers import group_norm

# Per stage: blocks, kernel, stride of the first block, expansion, output channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32
# Index of each level's last block: the level's channels.
TAPS = {2: 24, 4: 40, 10: 112, 15: 320}
COARSEST = 32


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: at stride 2, one more pixel at the end."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b e i j"]:
        if self.stride[0] == 2:
            before, after = (self.kernel_size[0] - 2) // 2, (self.kernel_size[0] - 1) // 2
            input = F.pad(input, (before, after, before, after))
        return super().forward(input)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection; a shortcut if the shapes are equal."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = SameConv2d(inputs, hidden, 1, 1, 1) if expansion > 1 else None
        self.depthwise = SameConv2d(hidden, hidden, kernel, stride, hidden)
        self.project = SameConv2d(hidden, outputs, 1, 1, 1)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b e i j"]:
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.has_shortcut else y


class EfficientNetLite0(nn.Module):
    """Feature maps at strides 4, 8, 16 and 32 of frames in [-1, 1]; TAPS holds their channels.

    The sides of the frames have to be multiples of 32.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv2d(3, _STEM, 3, 2, 1)
        self.blocks = nn.ModuleList()
        width = _STEM
        for blocks, kernel, stride, expansion, outputs in _STAGES:
            for index in range(blocks):
                step = stride if index == 0 else 1
                self.blocks.append(InvertedResidual(width, outputs, kernel, step, expansion))
                width = outputs

    def forward(self, frames: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        x = F.relu6(self.stem(frames), inplace=True)
        taps: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in TAPS:
                taps.append(x)
        return taps


class FeaturePyramid(nn.Module):
    """Top-down pyramid over the levels of an ImageNet-trained trunk. Lin et al. 2017 (FPN).

    Output: `width` channels at a quarter of the input's size. While the trunk's weights are frozen
    it runs without gradients.
    """

    stride = 4

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.trunk = EfficientNetLite0()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in TAPS.values())
        self.smooth = nn.ModuleList(
            nn.Sequential(
                group_norm(width, activation="relu"), nn.Conv2d(width, width, 3, padding=1)
            )
            for _ in range(len(TAPS) - 1)
        )

    def forward(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c i j"]:
        learns = torch.is_grad_enabled() and self.trunk.stem.weight.requires_grad
        with torch.set_grad_enabled(learns):
            levels = self.trunk(frames)
        maps = self.lateral[-1](levels[-1])
        for level, lateral, smooth in zip(
            levels[-2::-1], self.lateral[-2::-1], self.smooth, strict=True
        ):
            coarse = F.interpolate(maps, size=level.shape[-2:], mode="bilinear")
            maps = coarse + lateral(level)
            maps = maps + smooth(maps)
        return maps
