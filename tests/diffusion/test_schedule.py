import math

import numpy as np
import pytest
import torch

from slotcli.diffusion.schedule import Schedule


@pytest.fixture(scope="module")
def schedule() -> Schedule:
    return Schedule()


@pytest.mark.parametrize(
    ("step", "alpha_bar", "tolerance"),
    [(0, 0.9985, 1e-7), (499, 0.11584, 5e-6), (999, 1.423e-4, 5e-8)],
)
def test_published_values(
    schedule: Schedule, step: int, alpha_bar: float, tolerance: float
) -> None:
    assert schedule.alphas_bar[step].item() == pytest.approx(alpha_bar, abs=tolerance)


def test_it_agrees_with_a_loop(schedule: Schedule) -> None:
    product = 1.0
    for step in range(1000):
        share = step / 999
        product *= 1 - (math.sqrt(0.0015) * (1 - share) + math.sqrt(0.0195) * share) ** 2
        assert schedule.alphas_bar[step].item() == pytest.approx(product, rel=1e-5)


def test_continuous_time_hits_every_step(schedule: Schedule) -> None:
    for step in range(1000):
        time = (step + 1) / 1000
        alpha_bar = schedule.alphas_bar[step].item()
        assert schedule.alpha(time) ** 2 == pytest.approx(alpha_bar, rel=1e-5)
        assert schedule.sigma(time) ** 2 == pytest.approx(1 - alpha_bar, rel=1e-4)
        assert schedule.model_step(time) == pytest.approx(step, abs=1e-9)


def test_log_alpha_is_linear_between_steps_and_before_the_first(schedule: Schedule) -> None:
    for low, high in ((0.5, 0.501), (0.001, 0.002)):
        middle = schedule.log_alpha((low + high) / 2)
        assert middle == pytest.approx((schedule.log_alpha(low) + schedule.log_alpha(high)) / 2)
    before = 2 * schedule.log_alpha(0.001) - schedule.log_alpha(0.002)
    assert schedule.log_alpha(0.0) == pytest.approx(before)


@pytest.mark.parametrize("time", [0.001, 0.0014, 0.0375, 0.5, 0.73333, 0.9999, 1.0])
def test_half_log_snr_is_that_of_alpha_and_sigma(schedule: Schedule, time: float) -> None:
    ratio = schedule.alpha(time) / schedule.sigma(time)
    assert schedule.half_log_snr(time) == pytest.approx(math.log(ratio))


def test_noise_only_grows(schedule: Schedule) -> None:
    times = np.linspace(0.001, 1, 3001)
    assert (np.diff([schedule.half_log_snr(time) for time in times]) < 0).all()
    for time in times[::100]:
        assert schedule.alpha(time) ** 2 + schedule.sigma(time) ** 2 == pytest.approx(1)


def test_add_noise_keeps_the_variance_of_a_standard_normal(schedule: Schedule) -> None:
    """The square root that the paper's Eq. 5 leaves out: without it the variance would fall."""
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 200_000, generator=generator)
    noisy = schedule.add_noise(clean, noise, torch.tensor([10, 400, 990]))
    torch.testing.assert_close(noisy.var(dim=1), torch.ones(3), atol=0.02, rtol=0)


def test_every_item_has_its_own_step(schedule: Schedule) -> None:
    clean, noise = torch.randn(2, 3, 4, 5, 5)
    steps = torch.tensor([0, 500, 999])
    together = schedule.add_noise(clean, noise, steps)
    for item, step in enumerate(steps):
        alpha_bar = schedule.alphas_bar[step]
        alone = alpha_bar.sqrt() * clean[item] + (1 - alpha_bar).sqrt() * noise[item]
        torch.testing.assert_close(together[item], alone)


def test_it_adds_nothing_to_a_checkpoint(schedule: Schedule) -> None:
    assert schedule.state_dict() == {}
