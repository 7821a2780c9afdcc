"""Prediction targets of the network, and the x0 each one implies. Paper, Eq. 4 and E.4."""

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from slotcli.diffusion.schedule import Schedule

Target = Literal["eps", "x0", "v"]

# Maps a noisy signal and a continuous time to the x0 prediction.
Denoiser = Callable[[Tensor, float], Tensor]


def denoising_loss(
    schedule: Schedule,
    target: Target,
    predict: Callable[[Tensor, Tensor], Tensor],
    clean: Float[Tensor, "b *shape"],
    noise: Float[Tensor, "b *shape"],
    step: Int64[Tensor, " b"],
) -> Float[Tensor, " b"]:
    """Mean squared error of the network's prediction for each item. Paper, Eq. 5 (with its root).

    `predict(noisy, step)` is the network; `step` runs from 0 to the schedule's steps - 1.
    """
    prediction = predict(schedule.add_noise(clean, noise, step), step)
    alpha, sigma = schedule.levels(step, clean.ndim)
    wanted = {"eps": noise, "x0": clean, "v": alpha * noise - sigma * clean}[target]
    return F.mse_loss(prediction.float(), wanted, reduction="none").flatten(1).mean(1)


def x0_prediction(
    target: Target, prediction: Tensor, noisy: Tensor, alpha: float, sigma: float
) -> Tensor:
    """x0 prediction from a network's prediction at signal scale `alpha`, noise scale `sigma`."""
    if target == "eps":
        return (noisy - sigma * prediction) / alpha
    if target == "v":
        return alpha * noisy - sigma * prediction
    return prediction
