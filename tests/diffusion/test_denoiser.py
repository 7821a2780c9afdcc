"""What a network is asked for and what is made of its answer have to be each other's inverse."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from slotcli.diffusion.denoiser import Target, denoising_loss, x0_prediction
from slotcli.diffusion.schedule import Schedule

TARGETS: tuple[Target, ...] = get_args(Target)
STEPS = torch.tensor([0, 3, 400, 980, 999])


def perfect(target: Target, alpha: Tensor, sigma: Tensor, clean: Tensor, noise: Tensor) -> Tensor:
    if target == "eps":
        return noise
    if target == "x0":
        return clean
    return alpha * noise - sigma * clean  # Salimans & Ho 2022, appendix D


@pytest.mark.parametrize("target", TARGETS)
def test_a_perfect_network_has_no_loss_and_gives_the_clean_signal_back(target: Target) -> None:
    schedule = Schedule()
    clean, noise = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    seen: list[Tensor] = []

    def predict(noisy: Tensor, step: Tensor) -> Tensor:
        seen.append(noisy)
        alpha_bar = schedule.alphas_bar[step].view(-1, 1, 1, 1)
        return perfect(target, alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), clean, noise)

    loss = denoising_loss(schedule, target, predict, clean.float(), noise.float(), STEPS)
    torch.testing.assert_close(loss, torch.zeros(5), atol=1e-9, rtol=0)

    for item, step in enumerate(STEPS.tolist()):
        alpha, sigma = schedule.alpha((step + 1) / 1000), schedule.sigma((step + 1) / 1000)
        noisy = alpha * clean[item] + sigma * noise[item]
        torch.testing.assert_close(seen[0][item].double(), noisy, atol=1e-5, rtol=1e-5)
        scales = torch.tensor(alpha), torch.tensor(sigma)
        prediction = perfect(target, *scales, clean[item], noise[item])
        found = x0_prediction(target, prediction, noisy, alpha, sigma)
        torch.testing.assert_close(found, clean[item], atol=1e-4, rtol=0)


@pytest.mark.parametrize("target", TARGETS)
def test_the_loss_is_the_mean_squared_error_of_each_item(target: Target) -> None:
    schedule = Schedule()
    clean, noise = torch.randn(2, 5, 3, 4, 4)
    alpha, sigma = schedule.levels(STEPS, 4)
    wanted = perfect(target, alpha, sigma, clean, noise)
    error = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])
    loss = denoising_loss(
        schedule, target, lambda noisy, step: wanted + error.view(-1, 1, 1, 1), clean, noise, STEPS
    )
    torch.testing.assert_close(loss, error**2, atol=1e-5, rtol=1e-5)
