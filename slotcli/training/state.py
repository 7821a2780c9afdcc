"""A run's state on disk: weights, average, Adam's moments, the task's memory, a completion marker.

No random state is saved: every step seeds its own generator from the run's seed and the step's
number, so a resumed run samples the same numbers as an uninterrupted one.
"""

import json
import math
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from slotcli.checkpoint import read_tensors, require_fit, write_tensors
from slotcli.errors import DataError
from slotcli.evaluation.figures import with_current_names
from slotcli.faults import may_fail
from slotcli.files.writing import output_errors
from slotcli.training.optimiser import Average

MARKER = "COMPLETE"
_COUNTS = ("step", "updates", "skipped", "skipped_in_a_row", "rollbacks", "since", "counted")
_SCALE = ("scale", "_growth_tracker")
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_NO_STATE = "Choose another --out, or the definition and the slotcli that the run began with."


@dataclass
class RunState:
    """Everything that a step changes: tensors, counts, and figures that are not logged yet.

    `since` counts the steps since the last row of the log; `sums` are over the `counted` ones of
    them, which were not skipped. The gradient scaler is disabled except at fp16.
    """

    module: nn.Module
    average: Average
    adam: torch.optim.Adam
    memory: dict[str, Tensor]
    scaler: GradScaler = field(default_factory=lambda: GradScaler("cpu", enabled=False))
    step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    rollbacks: int = 0
    since: int = 0
    counted: int = 0
    sums: dict[str, float] = field(default_factory=dict[str, float])

    def logged(self) -> dict[str, float | None]:
        """The means of the figures since the last row; resets the sums.

        Null where every step was skipped.
        """
        sums = self.sums or {"loss": None}
        means = {name: None if s is None else s / self.counted for name, s in sums.items()}
        self.since, self.counted, self.sums = 0, 0, {}
        return means


def save_state(path: Path, state: RunState, score: float | None) -> None:
    """Writes a state folder, whole or not at all, replacing one of that name.

    `score` is that of the weights, higher is better, None if unknown. Raises what `output_errors`
    does.
    """
    partial = path.with_name(f".{path.name}.part")
    facts = {
        "step": state.step,
        "updates": state.average.updates,
        "skipped": state.skipped,
        "skipped_in_a_row": state.skipped_in_a_row,
        "rollbacks": state.rollbacks,
        "since": state.since,
        "counted": state.counted,
        "sums": state.sums,
        "scaler": {name: s for name, s in state.scaler.state_dict().items() if name in _SCALE},
        "moments": [name for name, _ in _with_moments(state)],
    }
    shutil.rmtree(partial, ignore_errors=True)
    with output_errors(path):
        partial.mkdir(parents=True)
        moments = {
            f"{name}/{key}": state.adam.state[parameter][key]
            for name, parameter in _with_moments(state)
            for key in _MOMENTS
        }
        same = {"step": state.step}
        for name, tensors, said in (
            ("weights", state.module.state_dict(), facts),
            ("average", state.average.shadow, same),
            ("adam", moments, same),
            ("task", state.memory, same),
        ):
            may_fail("save")
            write_tensors(partial / f"{name}.safetensors", tensors, said)
        (partial / MARKER).write_text(json.dumps({"score": score}) + "\n")
        may_fail("save")
        shutil.rmtree(path, ignore_errors=True)
        os.replace(partial, path)


def load_state(path: Path, state: RunState) -> None:
    """Restores a run from a state folder. Raises DataError, and then has changed nothing."""
    weights, facts = read_tensors(path / "weights.safetensors")
    counts = {name: _count(facts, name, path) for name in _COUNTS}
    read = {"weights": weights}
    for name in ("average", "adam", "task"):
        read[name], own = read_tensors(path / f"{name}.safetensors")
        if own.get("step") != counts["step"]:
            raise DataError(f"{path}: {name} is of another step than the weights.", _NO_STATE)
    sums = facts.get("sums")
    if not isinstance(sums, dict) or not all(isinstance(v, float) for v in sums.values()):
        raise DataError(f"{path}: its sums are no numbers.", _NO_STATE)
    scale = facts.get("scaler", {})
    if scale and not _is_scale(scale):
        raise DataError(f"{path}: its scale of gradients is none.", _NO_STATE)
    trained = dict(state.module.named_parameters())
    moved = facts.get("moments")
    if not isinstance(moved, list) or not all(name in trained for name in map(str, moved)):
        raise DataError(f"{path}: which moments it has is not said.", _NO_STATE)
    moments = {
        f"{name}/{key}": torch.zeros(()) if key == "step" else trained[name]
        for name in map(str, moved)
        for key in _MOMENTS
    }
    wanted = {
        "weights": state.module.state_dict(),
        "average": state.average.shadow,
        "adam": moments,
        "task": state.memory,
    }
    for name, tensors in wanted.items():
        require_fit(tensors, read[name], f"{path}: {name}")

    state.module.load_state_dict(weights)
    for name in ("average", "task"):
        for key, tensor in wanted[name].items():
            tensor.copy_(read[name][key])
    state.adam.state.clear()
    for name in map(str, moved):
        parameter = trained[name]
        step, *rest = (read["adam"][f"{name}/{key}"] for key in _MOMENTS)
        # T8: in the weights' memory order, for fused Adam reads both in the same order.
        moments = {
            key: torch.empty_like(parameter.detach()).copy_(moment)
            for key, moment in zip(_MOMENTS[1:], rest, strict=True)
        }
        state.adam.state[parameter] = {"step": step.to(parameter.device), **moments}
    if scale:  # else the state is of a run at another precision: the scaler starts at its default
        state.scaler.load_state_dict(state.scaler.state_dict() | scale)
    state.sums = with_current_names(sums)
    state.average.updates = counts.pop("updates")
    for name, value in counts.items():
        setattr(state, name, value)


def _is_scale(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != set(_SCALE):
        return False
    scale, growth = (value[name] for name in _SCALE)
    return isinstance(scale, float) and 0 < scale < math.inf and isinstance(growth, int)


def _with_moments(state: RunState) -> list[tuple[str, nn.Parameter]]:
    named = state.module.named_parameters()
    return [(name, parameter) for name, parameter in named if state.adam.state.get(parameter)]


def _count(facts: dict[str, Any], name: str, path: Path) -> int:
    value = facts.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise DataError(f"{path}: {name} is no number of times.", _NO_STATE)
    return value
