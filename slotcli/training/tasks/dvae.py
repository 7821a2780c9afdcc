"""Training a dVAE: reconstruction through Gumbel-softmax with annealing. Singh et al. 2021."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from slotcli.codecs.dvae import Dvae
from slotcli.data.dataset import Dataset
from slotcli.model import normalise
from slotcli.spec import CodecModelSpec
from slotcli.training.parallel.peers import WHOLE, Part
from slotcli.training.tasks.single_frames import FrameTask


class DvaeTask(FrameTask[Dvae]):
    """Trains a dVAE on single frames of a data set."""

    def __init__(
        self,
        spec: CodecModelSpec,
        codec: Dvae,
        data: Dataset,
        held_out: UInt8[Tensor, "b 3 h w"],
        device: torch.device,
    ) -> None:
        super().__init__(spec, codec, data, held_out, device, ["temperature", "codes_used"])

    def loss(
        self, batch: UInt8[Tensor, "b 3 h w"], step: int, part: Part = WHOLE
    ) -> tuple[Tensor, dict[str, float]]:
        frames = normalise(batch.to(self._device))
        tau = temperature(step, self._options.steps)
        output = self.module(frames, tau)
        used = len(output.tokens.unique())
        loss = F.mse_loss(output.frames, frames)
        return loss, {"temperature": tau, "codes_used": float(used)}


def temperature(
    step: int, steps: int, *, start: float = 1.0, end: float = 0.1, share: float = 0.15
) -> float:
    """The Gumbel-softmax temperature: a cosine from `start` to `end`.

    It reaches `end` after the fraction `share` of the steps. The defaults are the published ones.
    """
    progress = min(1.0, step / (share * steps))
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
