"""The training loop: the same for a codec and for a slot model, which differ in their task."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from slotcli import __version__
from slotcli.checkpoint import WEIGHTS, save_model
from slotcli.errors import CannotCreateError, NumericError, Terminated, UsageError
from slotcli.spec import CodecModelSpec, SlotModelSpec
from slotcli.tracks.writing import output_errors
from slotcli.training.interrupts import interrupts_deferred
from slotcli.training.log import RunLog
from slotcli.training.optimiser import Average, learning_rate
from slotcli.training.state import complete_states, load_state, save_state

_LOG_EVERY = 50

# Step, number of steps, figures of the moment.
Progress = Callable[[int, int, dict[str, Any]], None]


@runtime_checkable
class Task(Protocol):
    """What is trained: a module, its loss at a step, and its figures on data held out."""

    figures: list[str]
    memory: dict[str, Tensor]
    """What the task carries from step to step besides its module; changed in place only."""

    @property
    def module(self) -> nn.Module: ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Adam's groups, each with its peak learning rate under `peak`."""
        ...

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of one step, and figures of it worth logging."""
        ...

    def evaluate(self) -> dict[str, float | None]:
        """Figures of the module as it stands."""
        ...


def train(
    spec: SlotModelSpec | CodecModelSpec,
    task: Task,
    out: Path,
    *,
    resume: bool,
    command: list[str],
    progress: Progress,
) -> dict[str, float | None]:
    """Trains to the spec's number of steps; returns the figures of the last evaluation.

    `out` gets log.jsonl, log.csv, the averaged weights (weights.safetensors) and the state to
    resume from. Ctrl-C or SIGTERM ends the step at hand, saves it, and goes on up. Raises
    NumericError where the loss is not finite, CannotCreateError where `out` holds another run and
    `resume` is off, and what `output_errors` raises.
    """
    options = spec.train
    module = task.module.train()
    adam = torch.optim.Adam(task.parameter_groups(), lr=options.learning_rate)
    average = Average(module, options.ema)
    states = complete_states(out / "state")
    if states and not resume:
        raise CannotCreateError(
            f"{out}: holds a run already.", "Use --resume auto, or another --out."
        )
    first = 0
    if states:
        first = load_state(states[-1], module, average, adam, task.memory)
        if first >= options.steps:
            raise UsageError(
                f"{out}: was trained to step {first} already.", "Raise train.steps to go on."
            )
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    columns = ["step", "loss", "gradient_norm", "learning_rate", "steps_per_second", *task.figures]
    log = RunLog(out, columns, first)
    figures: dict[str, float | None] = {}
    parameters = [p for group in adam.param_groups for p in group["params"]]
    clock, clocked = time.monotonic(), first
    loss_sum, figure_sums = 0.0, dict[str, float]()

    def save(step: int) -> None:
        save_state(out / "state", step, module, average, adam, task.memory)
        with average.applied():
            provenance = {"version": __version__, "torch": torch.__version__, "command": command}
            save_model(out / WEIGHTS, spec, module.state_dict(), step, provenance)

    completed, whole = first, True
    try:
        for step in range(first, options.steps):
            # Seeding each step makes a resumed run draw what an undisturbed one would have drawn.
            torch.manual_seed(options.seed * 1_000_003 + step)
            for group in adam.param_groups:
                group["lr"] = learning_rate(options, group["peak"], step)
            with interrupts_deferred():
                whole = False
                loss, extra = task.loss(step)
                if not math.isfinite(loss.item()):
                    raise NumericError(
                        f"the loss is {loss.item()} at step {step}.", "Lower the learning rate."
                    )
                loss.backward()
                norm = nn.utils.clip_grad_norm_(parameters, options.clip_norm or math.inf)
                adam.step()
                adam.zero_grad(set_to_none=True)
                average.update()
                completed, whole = step + 1, True

            done = completed
            loss_sum += loss.item()
            for name, value in extra.items():
                figure_sums[name] = figure_sums.get(name, 0.0) + value
            evaluated = done % options.evaluate_every == 0 or done == options.steps
            if evaluated or done % _LOG_EVERY == 0:
                count = done - clocked
                rate = count / (time.monotonic() - clock)
                row: dict[str, Any] = {
                    "step": done,
                    "loss": loss_sum / count,
                    "gradient_norm": norm.item(),
                    "learning_rate": adam.param_groups[0]["lr"],
                    "steps_per_second": rate,
                    **{name: value / count for name, value in figure_sums.items()},
                }
                if evaluated:
                    with average.applied():
                        module.eval()
                        figures = task.evaluate()
                        module.train()
                    row |= figures
                log.add(row)
                progress(done, options.steps, row)
                clock, clocked, loss_sum, figure_sums = time.monotonic(), done, 0.0, {}
                if evaluated:
                    save(done)
    except (KeyboardInterrupt, Terminated):
        # A second interrupt cuts a step in two: then the state before it is the one to go on from.
        if whole:
            save(completed)
        raise
    return figures
