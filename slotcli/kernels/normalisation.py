"""Group normalisation as the published models use it."""

from torch import nn


def group_norm(channels: int, eps: float = 1e-5) -> nn.GroupNorm:
    """GroupNorm with the published 32 groups; 8 below 64 channels.

    With 32 groups a layer of 32 channels would lose each channel's own mean, and colour with it.
    """
    return nn.GroupNorm(32 if channels >= 64 else 8, channels, eps=eps)
