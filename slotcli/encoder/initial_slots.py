"""Initial slots sampled from one Gaussian for all slots. Locatello et al. 2020, Alg. 1."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class GaussianSlots(nn.Module):
    """Samples the slots of a clip's first frame; mean and deviation are learned.

    In training every clip has its own noise. In evaluation all clips have the noise of `seed`, so
    that results are reproducible; it is sampled on the CPU, and the same on every device.
    """

    def __init__(self, slot_dim: int, deviation: float) -> None:
        super().__init__()
        self.seed = 0
        self.mean = nn.Parameter(torch.zeros(1, 1, slot_dim))
        self.log_std = nn.Parameter(torch.full((1, 1, slot_dim), math.log(deviation)))

    def forward(self, clips: int, slots: int) -> Float[Tensor, "b n d"]:
        return self.mean + self.log_std.exp() * self.noise(clips, slots)

    def noise(self, clips: int, slots: int) -> Float[Tensor, "b n d"]:
        """Standard normal numbers for the slots of each clip."""
        width = self.mean.shape[2]
        if self.training:
            # normal_, not randn: it has a form for a part of a batch.
            return self.mean.new_empty(clips, slots, width).normal_()
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(1, slots, width, generator=generator)
        return noise.to(self.mean).expand(clips, -1, -1)
