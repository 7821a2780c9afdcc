"""Samplers against diffusers' schedulers, and against a distribution whose answer is known.

For data from N(mu, s^2) the best denoiser is linear, and the probability-flow equation maps noise
at time 1 to the sample at any time exactly: x stays at the same number of standard deviations.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_dpmsolver_singlestep import DPMSolverSinglestepScheduler
from torch import Tensor

from slotcli.diffusion.denoiser import Denoiser
from slotcli.diffusion.samplers import (
    SAMPLERS,
    Sampler,
    ddim,
    dpm_solver_pp_2m,
    dpm_solver_pp_3s,
    sample,
    uniform_times,
)
from slotcli.diffusion.schedule import Schedule

SCHEDULE = Schedule()
SAME_BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195}
NOISE = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


# diffusers hands tensors to numpy in a way that numpy 2 warns about.
ignore_numpy_2 = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")


def curved(noisy: Tensor, time: float) -> Tensor:
    """A denoiser that bends in both of its arguments."""
    return torch.tanh(0.8 * noisy + math.sin(7 * time)) + 0.1 * torch.cos(noisy.flip(-1))


def step_through(
    scheduler: DDIMScheduler | DPMSolverMultistepScheduler | DPMSolverSinglestepScheduler,
    before_step: Callable[[int], None] = lambda index: None,
) -> Tensor:
    x = NOISE
    for index, step in enumerate(scheduler.timesteps.tolist()):
        before_step(index)
        time = (step + 1) / 1000
        x = scheduler.step(curved(x, time), step, x, return_dict=False)[0]
    return x


def relative_error(found: Tensor, wanted: Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize("steps", [1, 2, 10, 20, 50])
def test_ddim_agrees_with_diffusers(steps: int) -> None:
    scheduler = DDIMScheduler(
        **SAME_BETAS,
        clip_sample=False,
        set_alpha_to_one=False,
        prediction_type="sample",
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    times = [(step + 1) / 1000 for step in scheduler.timesteps.tolist()] + [1 / 1000]
    assert relative_error(ddim(curved, NOISE, SCHEDULE, times), step_through(scheduler)) < 1e-5


@ignore_numpy_2
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 20, 50])
def test_multistep_agrees_with_diffusers(steps: int) -> None:
    scheduler = DPMSolverMultistepScheduler(
        **SAME_BETAS,
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        lower_order_final=False,
        final_sigmas_type="sigma_min",
        prediction_type="sample",
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    times = [(step + 1) / 1000 for step in scheduler.timesteps.tolist()] + [1 / 1000]
    found = dpm_solver_pp_2m(curved, NOISE, SCHEDULE, times)
    assert relative_error(found, step_through(scheduler)) < 2e-5


@ignore_numpy_2
@pytest.mark.parametrize("evaluations", [1, 2, 3, 4, 5, 19, 20, 21])
def test_singlestep_agrees_with_diffusers(evaluations: int) -> None:
    """Two things have to be made equal first.

    diffusers takes whole timesteps only, so times and noise levels are put in by hand. And for
    the second inner point of an order 3 step the paper has the formula that diffusers calls "heun",
    at the end of the same step the one that it calls "midpoint": the setting is switched between.
    """
    scheduler = DPMSolverSinglestepScheduler(
        **SAME_BETAS,
        algorithm_type="dpmsolver++",
        solver_order=3,
        lower_order_final=True,
        final_sigmas_type="sigma_min",
        prediction_type="sample",
    )
    scheduler.set_timesteps(evaluations)
    times = uniform_times(SCHEDULE, evaluations)
    scheduler.timesteps = torch.tensor(
        [time * 1000 - 1 for time in times[:-1]], dtype=torch.float64
    )
    scheduler.sigmas = torch.tensor(
        [SCHEDULE.sigma(time) / SCHEDULE.alpha(time) for time in times], dtype=torch.float64
    )

    def switch(index: int) -> None:
        inner = scheduler.order_list[index : index + 2] == [2, 3]
        scheduler.register_to_config(solver_type="heun" if inner else "midpoint")

    wanted = step_through(scheduler, switch)
    assert relative_error(dpm_solver_pp_3s(curved, NOISE, SCHEDULE, evaluations), wanted) < 1e-9


MEAN, DEVIATION = 0.7, 0.5


def gaussian(schedule: Schedule) -> Denoiser:
    def denoise(noisy: Tensor, time: float) -> Tensor:
        alpha, sigma = schedule.alpha(time), schedule.sigma(time)
        gain = alpha * DEVIATION**2 / (alpha**2 * DEVIATION**2 + sigma**2)
        return MEAN + gain * (noisy - alpha * MEAN)

    return denoise


def exact(schedule: Schedule, noise: Tensor, start: float, end: float) -> Tensor:
    def spread(time: float) -> float:
        return math.hypot(schedule.alpha(time) * DEVIATION, schedule.sigma(time))

    standardised = (noise - schedule.alpha(start) * MEAN) / spread(start)
    return schedule.alpha(end) * MEAN + spread(end) * standardised


class EvenSchedule(Schedule):
    """Half log SNR falls evenly with time, so that even times are even steps of the solvers."""

    def half_log_snr(self, time: float) -> float:
        return 3.3 - 7.7 * time

    def time_at(self, half_log_snr: float) -> float:
        return (3.3 - half_log_snr) / 7.7

    def log_alpha(self, time: float) -> float:
        return -np.logaddexp(0, -2 * self.half_log_snr(time)).item() / 2


def multistep_in(denoise: Denoiser, noise: Tensor, schedule: Schedule, steps: int) -> Tensor:
    return dpm_solver_pp_2m(denoise, noise, schedule, uniform_times(schedule, steps))


def ddim_in(denoise: Denoiser, noise: Tensor, schedule: Schedule, steps: int) -> Tensor:
    return ddim(denoise, noise, schedule, uniform_times(schedule, steps))


def singlestep_in(denoise: Denoiser, noise: Tensor, schedule: Schedule, steps: int) -> Tensor:
    return dpm_solver_pp_3s(denoise, noise, schedule, 3 * steps - 1)  # the last step has order 2


@pytest.mark.parametrize(("solver", "order"), [(ddim_in, 1), (multistep_in, 2), (singlestep_in, 3)])
def test_order_of_convergence(solver: Callable[..., Tensor], order: int) -> None:
    schedule = EvenSchedule()
    wanted = exact(schedule, NOISE, 1.0, 0.001)
    errors = [
        (solver(gaussian(schedule), NOISE, schedule, steps) - wanted).abs().max().item()
        for steps in (40, 80, 160)
    ]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_many_evaluations_draw_the_distribution(sampler: Sampler) -> None:
    found = sample(sampler, gaussian(SCHEDULE), NOISE, SCHEDULE, 500)
    wanted = exact(SCHEDULE, NOISE, 1.0, 0.001)
    torch.testing.assert_close(found, wanted, atol={"ddim": 0.03}.get(sampler, 0.005), rtol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("evaluations", [1, 2, 3, 4, 20, 21])
def test_the_denoiser_is_asked_exactly_as_often_as_agreed(
    sampler: Sampler, evaluations: int
) -> None:
    times: list[float] = []

    def denoise(noisy: Tensor, time: float) -> Tensor:
        times.append(time)
        return curved(noisy, time)

    found = sample(sampler, denoise, NOISE, SCHEDULE, evaluations)
    assert len(times) == evaluations
    assert times == pytest.approx(uniform_times(SCHEDULE, evaluations)[:-1], abs=1e-9)
    assert found.shape == NOISE.shape
    assert found.isfinite().all()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("evaluations", [1, 3, 20])
def test_a_denoiser_that_knows_the_answer_is_believed(sampler: Sampler, evaluations: int) -> None:
    """With a constant clean signal every solver is exact: x keeps its noise, scaled down."""
    clean = torch.full_like(NOISE, 0.3)
    found = sample(sampler, lambda noisy, time: clean, NOISE, SCHEDULE, evaluations)
    noise = (NOISE - SCHEDULE.alpha(1.0) * clean) / SCHEDULE.sigma(1.0)
    wanted = SCHEDULE.alpha(0.001) * clean + SCHEDULE.sigma(0.001) * noise
    torch.testing.assert_close(found, wanted)
