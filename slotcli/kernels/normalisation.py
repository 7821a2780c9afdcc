"""Group normalisation as the published models use it."""

from jaxtyping import Float
from torch import Tensor, nn

from slotcli.errors import ConfigError
from slotcli.kernels.group_norm_act import Activation, group_norm_act


class GroupNormAct(nn.GroupNorm):
    """GroupNorm with the activation behind it; a shift before it, a residual between the two."""

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
    Raises ConfigError where the channels do not divide into the groups.
    """
    groups = 32 if channels >= 64 else 8
    if channels % groups:
        raise ConfigError(
            f"A layer of {channels} channels does not divide into {groups} groups.",
            "Change channels or multipliers; widths that are multiples of 32 always fit.",
        )
    return GroupNormAct(groups, channels, eps, activation)
