"""Layers shared by several networks: normalisation and position embedding."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.errors import ConfigError
from slotcli.kernels.group_norm_act import Activation, group_norm_act
from slotcli.types import Size


class GroupNormAct(nn.GroupNorm):
    """GroupNorm and activation: `shift` is added before the norm, `residual` after it."""

    def __init__(self, groups: int, channels: int, eps: float, activation: Activation) -> None:
        super().__init__(groups, channels, eps=eps)
        self.activation: Activation = activation

    def forward(
        self,
        input: Float[Tensor, "b c h w"],
        shift: Float[Tensor, "b c"] | None = None,
        residual: Float[Tensor, "b c h w"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        return group_norm_act(
            input,
            self.weight,
            self.bias,
            groups=self.num_groups,
            eps=self.eps,
            activation=self.activation,
            shift=shift,
            residual=residual,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation={self.activation}"


def group_norm(channels: int, eps: float = 1e-5, activation: Activation = "none") -> GroupNormAct:
    """GroupNorm with the published 32 groups; 8 below 64 channels.

    With 32 groups a layer of 32 channels would lose each channel's own mean, and colour with it.
    Raises ConfigError if the channels do not divide into the groups.
    """
    groups = 32 if channels >= 64 else 8  # CO1
    if channels % groups:
        raise ConfigError(
            f"A layer of {channels} channels does not divide into {groups} groups.",
            "Change channels or multipliers; widths that are multiples of 32 always fit.",
        )
    return GroupNormAct(groups, channels, eps, activation)


class PositionEmbedding(nn.Module):
    """Adds a linear map of (y, x, 1 - y, 1 - x), each from 0 to 1, to a feature map.

    Maps of a size other than `size` have positions from 0 to 1 too.
    """

    grid: Tensor

    def __init__(self, width: int, size: Size) -> None:
        super().__init__()
        # On the CPU even in a build on the meta device: there torch would import its compiler for
        # this computation, which takes seconds.
        self.register_buffer("grid", _grid(size, torch.device("cpu")), persistent=False)
        self.project = nn.Linear(4, width)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        size = features.shape[-2], features.shape[-1]
        grid = self.grid if self.grid.shape[:2] == size else _grid(size, features.device)
        return features + self.project(grid).permute(2, 0, 1)


def _grid(size: Size, device: torch.device) -> Float[Tensor, "h w 4"]:
    with torch.device(device):
        rows, columns = (torch.linspace(0, 1, steps) for steps in size)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        return torch.stack([y, x, 1 - y, 1 - x], dim=-1)


def set_to_zero(layer: nn.Module) -> None:
    """Sets a layer's weights to zero: at the start of training its branch adds nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
