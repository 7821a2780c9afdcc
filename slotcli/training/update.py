"""One update of the weights: a batch in its parts, gradients averaged, Adam, the moving average."""

import math

import torch
from torch import nn

from slotcli.faults import may_fail
from slotcli.training.parallel.peers import Part, Peers
from slotcli.training.state import RunState
from slotcli.training.tasks.task import Task


def update(
    state: RunState,
    task: Task,
    parts: list[Part],
    peers: Peers,
    seed: int,
    clip_norm: float | None,
) -> bool:
    """Takes a step, and adds its figures to the state's sums, the same on every process.

    Where the loss or the norm of its gradient is not finite, the weights stay as they are. Returns
    False where that is a failure, which is counted; a gradient that overflows at fp16 because of
    its scale is none, because the scale is halved.
    """
    parameters = [p for group in state.adam.param_groups for p in group["params"]]
    bad = may_fail("step") == "nan"
    figures: dict[str, float] = {}
    for part in parts:
        batch = task.batch(state.step, part)
        torch.manual_seed(part.seed(seed, state.step))  # T1, T18
        value, extra = task.loss(batch, state.step, part)
        value = value * math.nan if bad else value
        state.scaler.scale(value / len(parts)).backward()
        for name, figure in {"loss": value.item(), **extra}.items():
            figures[name] = figures.get(name, 0.0) + figure / len(parts)
    peers.average_gradients(parameters)
    state.scaler.unscale_(state.adam)
    norm = nn.utils.clip_grad_norm_(parameters, clip_norm or math.inf)
    means = dict(zip(figures, peers.mean(list(figures.values())), strict=True))
    means["gradient_norm"] = norm.item()
    sound = math.isfinite(means["loss"])
    if sound and math.isfinite(means["gradient_norm"]):
        state.scaler.step(state.adam)
        state.average.update()
        state.skipped_in_a_row = 0
        state.counted += 1
        for name, mean in means.items():
            state.sums[name] = state.sums.get(name, 0.0) + mean
    elif not (sound and state.scaler.is_enabled() and state.scaler.get_scale() > 1):
        sound = False
        state.skipped += 1
        state.skipped_in_a_row += 1
    state.scaler.update()
    state.adam.zero_grad(set_to_none=True)
    state.step += 1
    state.since += 1
    return sound
