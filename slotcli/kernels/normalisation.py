"""Group normalisation as the published models use it."""

from torch import nn

from slotcli.errors import ConfigError


def group_norm(channels: int, eps: float = 1e-5) -> nn.GroupNorm:
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
    return nn.GroupNorm(groups, channels, eps=eps)
