"""Samplers as plain functions of a denoiser: from noise at time 1 to a sample at the last time.

Each takes `denoise(noisy, time) -> clean`, the starting noise and the schedule. Solver coefficients
are computed on the host in float64 and never depend on the data.
"""

import math
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from torch import Tensor

from slotcli.diffusion.denoiser import Denoiser
from slotcli.diffusion.schedule import Schedule

Sampler = Literal["singlestep", "multistep", "ddim"]
SAMPLERS: tuple[str, ...] = get_args(Sampler)


def sample(
    sampler: Sampler,
    denoise: Denoiser,
    noise: Float[Tensor, "b *shape"],
    schedule: Schedule,
    evaluations: int = 20,
) -> Float[Tensor, "b *shape"]:
    """A sample by the named sampler with that many evaluations of the denoiser (at least 1)."""
    if sampler == "singlestep":
        return dpm_solver_pp_3s(denoise, noise, schedule, evaluations)
    times = uniform_times(schedule, evaluations)
    solver = dpm_solver_pp_2m if sampler == "multistep" else ddim
    return solver(denoise, noise, schedule, times)


def uniform_times(schedule: Schedule, steps: int) -> list[float]:
    """steps + 1 times, evenly spaced from 1 down to the schedule's first step."""
    return np.linspace(1, 1 / schedule.steps, steps + 1).tolist()


def ddim(
    denoise: Denoiser, noise: Float[Tensor, "b *shape"], schedule: Schedule, times: list[float]
) -> Float[Tensor, "b *shape"]:
    """Deterministic DDIM (eta = 0) through decreasing `times`. Song et al. 2021, Eq. 12."""
    x = noise
    for now, then in pairwise(times):
        x = _first_order(schedule, x, denoise(x, now), now, then)
    return x


def dpm_solver_pp_2m(
    denoise: Denoiser, noise: Float[Tensor, "b *shape"], schedule: Schedule, times: list[float]
) -> Float[Tensor, "b *shape"]:
    """DPM-Solver++(2M) through decreasing `times`. Lu et al. 2022 (DPM-Solver++), Algorithm 2."""
    x = noise
    previous: tuple[Tensor, float] | None = None
    for now, then in pairwise(times):
        clean = denoise(x, now)
        lead = clean
        if previous is not None:
            old_clean, old_time = previous
            h = schedule.half_log_snr(then) - schedule.half_log_snr(now)
            ratio = (schedule.half_log_snr(now) - schedule.half_log_snr(old_time)) / h
            lead = clean + (clean - old_clean) / (2 * ratio)
        x = _first_order(schedule, x, lead, now, then)
        previous = (clean, now)
    return x


def dpm_solver_pp_3s(
    denoise: Denoiser, noise: Float[Tensor, "b *shape"], schedule: Schedule, evaluations: int
) -> Float[Tensor, "b *shape"]:
    """DPM-Solver++ singlestep of order 3, as the authors sample (20 evaluations).

    Steps of order 3 as long as evaluations last, then one of what is left; times are uniform, and
    the inner points sit at uniform times too. Lu et al. 2022, Algorithm 1 and appendix.
    """
    orders = [3] * (evaluations // 3)
    if evaluations % 3 == 0:
        orders = [*orders[:-1], 2, 1]
    else:
        orders.append(evaluations % 3)
    times = uniform_times(schedule, sum(orders))
    x, start = noise, 0
    for order in orders:
        inner = np.linspace(times[start], times[start + order], order + 1)
        lambdas = [schedule.half_log_snr(time) for time in inner]
        h = lambdas[-1] - lambdas[0]
        fractions = [(value - lambdas[0]) / h for value in lambdas[1:-1]]
        x = _singlestep(denoise, x, schedule, times[start], times[start + order], fractions)
        start += order
    return x


def _singlestep(
    denoise: Denoiser, x: Tensor, schedule: Schedule, now: float, then: float, inner: list[float]
) -> Tensor:
    """One step with intermediate points at the fractions `inner` of it in half log SNR."""
    clean = denoise(x, now)
    if not inner:
        return _first_order(schedule, x, clean, now, then)
    start = schedule.half_log_snr(now)
    h = schedule.half_log_snr(then) - start
    r1 = inner[0]
    middle = schedule.time_at(start + r1 * h)
    clean_1 = denoise(_first_order(schedule, x, clean, now, middle), middle)
    if len(inner) == 1:
        lead = clean + (clean_1 - clean) / (2 * r1)
        return _first_order(schedule, x, lead, now, then)
    r2 = inner[1]
    later = schedule.time_at(start + r2 * h)
    phi_22 = math.expm1(-r2 * h) / (r2 * h) + 1
    x_2 = _first_order(schedule, x, clean, now, later)
    x_2 = x_2 + (r2 / r1 * schedule.alpha(later) * phi_22) * (clean_1 - clean)
    clean_2 = denoise(x_2, later)
    phi_2 = math.expm1(-h) / h + 1
    x = _first_order(schedule, x, clean, now, then)
    return x + (schedule.alpha(then) * phi_2 / r2) * (clean_2 - clean)


def _first_order(schedule: Schedule, x: Tensor, clean: Tensor, now: float, then: float) -> Tensor:
    """x moved from `now` to `then` on the exact solution for a constant clean signal."""
    h = schedule.half_log_snr(then) - schedule.half_log_snr(now)
    shrink = schedule.sigma(then) / schedule.sigma(now)
    return shrink * x - (schedule.alpha(then) * math.expm1(-h)) * clean
