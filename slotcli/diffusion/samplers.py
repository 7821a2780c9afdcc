"""Samplers as tables of coefficients.

All of these solvers are linear: the denoiser's next input is a weighted sum of its input, the x0
prediction and the x0 predictions of the two function evaluations before. The weights do not depend
on the data and are computed on the host in float64, so one computation serves every function
evaluation of every sampler.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from slotcli.diffusion.denoiser import Denoiser
from slotcli.diffusion.schedule import Schedule

Sampler = Literal["singlestep", "multistep", "ddim"]


@dataclass(frozen=True)
class Evaluation:
    """One function evaluation: its time, and the weights that form the denoiser's next input.

    `weights` are those of the input, the current x0 prediction and the two before it, newest
    first. After the last evaluation the next input is the sample.
    """

    time: float
    weights: tuple[float, float, float, float]


def coefficients(sampler: Sampler, schedule: Schedule, evaluations: int) -> tuple[Evaluation, ...]:
    """`evaluations` function evaluations (at least 1), from time 1 to the schedule's first step."""
    if sampler == "singlestep":
        return dpm_solver_pp_3s(schedule, evaluations)
    times = uniform_times(schedule, evaluations)
    return dpm_solver_pp_2m(schedule, times) if sampler == "multistep" else ddim(schedule, times)


def uniform_times(schedule: Schedule, steps: int) -> list[float]:
    """steps + 1 times, evenly spaced from 1 down to the schedule's first step."""
    return np.linspace(1, 1 / schedule.steps, steps + 1).tolist()


def ddim(schedule: Schedule, times: list[float]) -> tuple[Evaluation, ...]:
    """Deterministic DDIM (eta = 0) through decreasing `times`. Song et al. 2021, Eq. 12."""
    return tuple(
        Evaluation(now, (*_first_order(schedule, now, then), 0.0, 0.0))
        for now, then in pairwise(times)
    )


def dpm_solver_pp_2m(schedule: Schedule, times: list[float]) -> tuple[Evaluation, ...]:
    """DPM-Solver++(2M) through decreasing `times`. Lu et al. 2022 (DPM-Solver++), Algorithm 2."""
    steps, before = list[Evaluation](), None
    for now, then in pairwise(times):
        keep, add = _first_order(schedule, now, then)
        ahead = 0.0
        if before is not None:
            ahead = _distance(schedule, now, then) / _distance(schedule, before, now) / 2
        steps.append(Evaluation(now, (keep, add * (1 + ahead), -add * ahead, 0.0)))
        before = now
    return tuple(steps)


def dpm_solver_pp_3s(schedule: Schedule, evaluations: int) -> tuple[Evaluation, ...]:
    """DPM-Solver++ singlestep of order 3, as the authors sample (20 function evaluations).

    Steps have order 3; the last one or two have lower orders so that the orders sum to
    `evaluations`. All times are uniform, also those inside a step. Lu et al. 2022, Algorithm 1 and
    appendix.
    """
    threes, rest = divmod(evaluations, 3)
    orders = [3] * threes + [rest] if rest else [3] * (threes - 1) + [2, 1]
    times = uniform_times(schedule, evaluations)
    steps, start = list[Evaluation](), 0
    for order in orders:
        steps += _singlestep(schedule, times[start : start + order + 1])
        start += order
    return tuple(steps)


def sample(
    sampler: Sampler,
    denoise: Denoiser,
    noise: Float[Tensor, "b *shape"],
    schedule: Schedule,
    evaluations: int = 20,
) -> Float[Tensor, "b *shape"]:
    """Samples with the named sampler in `evaluations` function evaluations (at least 1)."""
    return run_sampler(coefficients(sampler, schedule, evaluations), denoise, noise)


def run_sampler(
    steps: tuple[Evaluation, ...], denoise: Denoiser, noise: Float[Tensor, "b *shape"]
) -> Float[Tensor, "b *shape"]:
    """Runs a sampler from `noise` to a sample, with one call of `denoise` per step."""
    state = initial_state(noise)
    for evaluation in steps:
        clean = denoise(state[0], evaluation.time)
        state = sampler_step(state, clean, noise.new_tensor(evaluation.weights))
    return state[0]


def initial_state(noise: Float[Tensor, "b *shape"]) -> Float[Tensor, "3 b *shape"]:
    """Initial state of a sampler: the next input, and two x0 predictions that are still zero."""
    nothing = torch.zeros_like(noise)
    return torch.stack([noise, nothing, nothing])


def sampler_step(
    state: Float[Tensor, "3 b *shape"],
    clean: Float[Tensor, "b *shape"],
    weights: Float[Tensor, " 4"],
) -> Float[Tensor, "3 b *shape"]:
    """One sampler step: the next state, given the x0 prediction `clean` for `state[0]`."""
    parts = torch.stack([state[0], clean, *state[1:]])
    mixed = (weights.view(-1, *[1] * clean.ndim) * parts).sum(0)
    return torch.stack([mixed, clean, state[1]])


def _singlestep(schedule: Schedule, times: list[float]) -> list[Evaluation]:
    """One step of order len(times) - 1, with a function evaluation at every time but the last.

    The paper computes each point from the step's start: a first-order update with the first x0
    prediction, plus a correction by the change of x0 up to the point before. Rewritten from each
    point to the next, every input has the same weight: the ratio of the noise scales.
    """
    order = len(times) - 1
    points = np.zeros((order + 1, 4))  # weights of the start and of the step's x0 predictions
    points[0, 0] = 1
    gone = [_distance(schedule, times[0], time) for time in times]
    for point in range(1, order + 1):
        h, alpha = gone[point], schedule.alpha(times[point])
        points[point, :2] = _first_order(schedule, times[0], times[point])
        if point > 1:
            reach = -math.expm1(-h) / 2 if order == 2 else math.expm1(-h) / h + 1
            correction = alpha * reach * h / gone[point - 1]
            points[point, point] += correction
            points[point, 1] -= correction
    steps = list[Evaluation]()
    for index, time in enumerate(times[:-1]):
        keep = float(points[index + 1, 0] / points[index, 0])
        added = (points[index + 1] - keep * points[index])[index + 1 : 0 : -1]
        newest, second, third = [*added.tolist(), 0.0, 0.0][:3]
        steps.append(Evaluation(time, (keep, newest, second, third)))
    return steps


def _first_order(schedule: Schedule, now: float, then: float) -> tuple[float, float]:
    """Weights of x and x0 in the update from `now` to `then` that is exact for a constant x0."""
    h = _distance(schedule, now, then)
    return schedule.sigma(then) / schedule.sigma(now), -schedule.alpha(then) * math.expm1(-h)


def _distance(schedule: Schedule, now: float, then: float) -> float:
    """Step from `now` to `then` in half log SNR (h in Lu et al. 2022)."""
    return schedule.half_log_snr(then) - schedule.half_log_snr(now)
