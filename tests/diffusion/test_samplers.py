"""Samplers against diffusers' schedulers, the papers' algorithms, and a known distribution.

For data from N(mu, s^2) the best denoiser is linear, and the probability-flow equation maps noise
at time 1 to the sample at any time exactly: x stays at the same number of standard deviations.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_dpmsolver_singlestep import DPMSolverSinglestepScheduler
from torch import Tensor

from slotcli.diffusion.denoiser import Denoiser
from slotcli.diffusion.samplers import (
    Sampler,
    coefficients,
    ddim,
    dpm_solver_pp_2m,
    run_sampler,
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
    found = run_sampler(ddim(SCHEDULE, times), curved, NOISE)
    assert relative_error(found, step_through(scheduler)) < 1e-5


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
    found = run_sampler(dpm_solver_pp_2m(SCHEDULE, times), curved, NOISE)
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
    found = sample("singlestep", curved, NOISE, SCHEDULE, evaluations)
    assert relative_error(found, wanted) < 1e-9


def textbook_step(
    denoise: Denoiser, x: Tensor, schedule: Schedule, now: float, then: float, order: int
) -> Tensor:
    """DPM-Solver++ singlestep as it is written, each inner point from the step's start.

    Lu et al. 2022: Eq. 4.1 for order 1, Algorithm 1 for order 2, appendix (3S) for order 3.
    """

    def first_order(x: Tensor, clean: Tensor, then: float) -> Tensor:
        h = schedule.half_log_snr(then) - schedule.half_log_snr(now)
        kept = schedule.sigma(then) / schedule.sigma(now) * x
        return kept - schedule.alpha(then) * math.expm1(-h) * clean

    clean = denoise(x, now)
    if order == 1:
        return first_order(x, clean, then)
    start = schedule.half_log_snr(now)
    h = schedule.half_log_snr(then) - start
    s1 = now + (then - now) / order
    r1 = (schedule.half_log_snr(s1) - start) / h
    clean_1 = denoise(first_order(x, clean, s1), s1)
    if order == 2:
        return first_order(x, (1 - 1 / (2 * r1)) * clean + 1 / (2 * r1) * clean_1, then)
    s2 = now + 2 * (then - now) / order
    r2 = (schedule.half_log_snr(s2) - start) / h
    d1 = (clean_1 - clean) / (r1 * h)
    phi = math.expm1(-r2 * h) / (r2 * h) + 1
    u2 = first_order(x, clean, s2) + schedule.alpha(s2) * phi * r2 * h * d1
    d2 = (denoise(u2, s2) - clean) / (r2 * h)
    phi = math.expm1(-h) / h + 1
    return first_order(x, clean, then) + schedule.alpha(then) * phi * h * d2


@pytest.mark.parametrize(
    ("evaluations", "orders"),
    [
        (1, [1]),
        (2, [2]),
        (3, [2, 1]),
        (4, [3, 1]),
        (5, [3, 2]),
        (6, [3, 2, 1]),
        (20, [3, 3, 3, 3, 3, 3, 2]),
        (21, [3, 3, 3, 3, 3, 3, 2, 1]),
    ],
)
def test_singlestep_is_the_textbooks(evaluations: int, orders: list[int]) -> None:
    x, times = NOISE, uniform_times(SCHEDULE, evaluations)
    for index, order in enumerate(orders):
        now, then = (times[sum(orders[:end])] for end in (index, index + 1))
        x = textbook_step(curved, x, SCHEDULE, now, then, order)
    found = sample("singlestep", curved, NOISE, SCHEDULE, evaluations)
    assert relative_error(found, x) < 1e-12


@pytest.mark.parametrize("evaluations", [1, 2, 3, 20])
def test_multistep_is_the_textbooks(evaluations: int) -> None:
    """Lu et al. 2022, Algorithm 2."""
    times = uniform_times(SCHEDULE, evaluations)
    x, cleans = NOISE, list[Tensor]()
    lambdas = [SCHEDULE.half_log_snr(time) for time in times]
    for i in range(evaluations):
        cleans.append(curved(x, times[i]))
        h, lead = lambdas[i + 1] - lambdas[i], cleans[-1]
        if i > 0:
            r = (lambdas[i] - lambdas[i - 1]) / h
            lead = (1 + 1 / (2 * r)) * cleans[-1] - 1 / (2 * r) * cleans[-2]
        kept = SCHEDULE.sigma(times[i + 1]) / SCHEDULE.sigma(times[i]) * x
        x = kept - SCHEDULE.alpha(times[i + 1]) * math.expm1(-h) * lead
    found = sample("multistep", curved, NOISE, SCHEDULE, evaluations)
    assert relative_error(found, x) < 1e-12


@pytest.mark.parametrize("sampler", get_args(Sampler))
@pytest.mark.parametrize("evaluations", [1, 3, 4, 20])
def test_a_plan_is_a_table_of_moderate_numbers(sampler: Sampler, evaluations: int) -> None:
    """An input is kept as its noise is, and what the clean signals add does not cancel away."""
    steps = coefficients(sampler, SCHEDULE, evaluations)
    times = [*(step.time for step in steps), 1 / 1000]
    for step, then in zip(steps, times[1:], strict=True):
        keep, *added = step.weights
        ratio = SCHEDULE.sigma(then) / SCHEDULE.sigma(step.time)
        assert keep == pytest.approx(ratio, rel=1e-12)
        assert sum(added) == pytest.approx(
            SCHEDULE.alpha(then) - ratio * SCHEDULE.alpha(step.time), rel=1e-9
        )
        assert max(map(abs, added)) < 3
    unknown = [
        weight for age in (1, 2) for step in steps[:age] for weight in step.weights[1 + age :]
    ]
    assert not any(unknown)  # there are no clean signals before the first


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

    def log_alpha(self, time: float) -> float:
        return -np.logaddexp(0, -2 * self.half_log_snr(time)).item() / 2


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("multistep", 2), ("singlestep", 3)])
def test_order_of_convergence(sampler: Sampler, order: int) -> None:
    schedule = EvenSchedule()
    wanted = exact(schedule, NOISE, 1.0, 0.001)
    each = 3 if sampler == "singlestep" else 1
    errors = [
        # one less of the singlestep's, so that its last step has order 2
        (sample(sampler, gaussian(schedule), NOISE, schedule, each * steps - each // 3) - wanted)
        .abs()
        .max()
        .item()
        for steps in (40, 80, 160)
    ]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_many_evaluations_draw_the_distribution(sampler: Sampler) -> None:
    found = sample(sampler, gaussian(SCHEDULE), NOISE, SCHEDULE, 500)
    wanted = exact(SCHEDULE, NOISE, 1.0, 0.001)
    torch.testing.assert_close(found, wanted, atol={"ddim": 0.03}.get(sampler, 0.005), rtol=0)


@pytest.mark.parametrize("sampler", get_args(Sampler))
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


@pytest.mark.parametrize("sampler", get_args(Sampler))
@pytest.mark.parametrize("evaluations", [1, 3, 20])
def test_a_denoiser_that_knows_the_answer_is_believed(sampler: Sampler, evaluations: int) -> None:
    """With a constant clean signal every solver is exact: x keeps its noise, scaled down."""
    clean = torch.full_like(NOISE, 0.3)
    found = sample(sampler, lambda noisy, time: clean, NOISE, SCHEDULE, evaluations)
    noise = (NOISE - SCHEDULE.alpha(1.0) * clean) / SCHEDULE.sigma(1.0)
    wanted = SCHEDULE.alpha(0.001) * clean + SCHEDULE.sigma(0.001) * noise
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_a_sampler_is_linear_in_noise_and_clean_signals(sampler: Sampler) -> None:
    cleans = torch.randn(2, 7, *NOISE.shape, generator=torch.Generator().manual_seed(1)).double()
    noises = torch.stack([NOISE, NOISE.flip(0)])

    def drawn(noise: Tensor, cleans: Tensor) -> Tensor:
        answers = iter(cleans)
        return sample(sampler, lambda noisy, time: next(answers), noise, SCHEDULE, 7)

    apart = [drawn(noise, answers) for noise, answers in zip(noises, cleans, strict=True)]
    together = drawn(2 * noises[0] - noises[1], 2 * cleans[0] - cleans[1])
    torch.testing.assert_close(together, 2 * apart[0] - apart[1])
