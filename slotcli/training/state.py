"""A run's state on disk: weights, average, Adam's moments, the task's memory, a completion marker.

No random state is kept: every step seeds its own from the run's seed and its number, so a run that
is resumed draws what an undisturbed one would have drawn.
"""

import os
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from slotcli.checkpoint import load_strictly, read_tensors, write_tensors
from slotcli.errors import DataError
from slotcli.tracks.writing import output_errors
from slotcli.training.optimiser import Average

_MARKER = "COMPLETE"
_KEPT = 2


def save_state(
    folder: Path,
    step: int,
    module: nn.Module,
    average: Average,
    adam: torch.optim.Adam,
    memory: dict[str, Tensor],
) -> None:
    """Writes state/step-N beside the earlier ones, complete or not at all; keeps the last two."""
    final = folder / f"step-{step:08d}"
    partial = folder / f".{final.name}.part"
    shutil.rmtree(partial, ignore_errors=True)
    with output_errors(final):
        partial.mkdir(parents=True)
        facts = {"step": step, "updates": average.updates}
        write_tensors(partial / "weights.safetensors", module.state_dict(), facts)
        write_tensors(partial / "average.safetensors", average.shadow, {})
        write_tensors(partial / "adam.safetensors", _moments(module, adam), {})
        write_tensors(partial / "task.safetensors", memory, {})
        (partial / _MARKER).touch()
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
    for old in complete_states(folder)[:-_KEPT]:
        shutil.rmtree(old)


def complete_states(folder: Path) -> list[Path]:
    """State folders that were written to their end, oldest first."""
    return sorted(path.parent for path in folder.glob(f"step-*/{_MARKER}"))


def load_state(
    path: Path,
    module: nn.Module,
    average: Average,
    adam: torch.optim.Adam,
    memory: dict[str, Tensor],
) -> int:
    """Restores a run from a state folder; returns the step it was saved at. Raises DataError."""
    weights, facts = read_tensors(path / "weights.safetensors")
    load_strictly(module, weights, str(path))
    shadow, _ = read_tensors(path / "average.safetensors")
    kept, _ = read_tensors(path / "task.safetensors")
    if shadow.keys() != average.shadow.keys() or kept.keys() != memory.keys():
        raise DataError(f"{path}: belongs to another model.", "Choose another --out.")
    for name, tensor in shadow.items():
        average.shadow[name].copy_(tensor)
    for name, tensor in kept.items():
        memory[name].copy_(tensor)
    average.updates = int(facts["updates"])
    moments, _ = read_tensors(path / "adam.safetensors")
    for name, parameter in module.named_parameters():
        if f"{name}/exp_avg" in moments:
            adam.state[parameter] = {
                "step": moments[f"{name}/step"],  # Adam counts on the CPU, wherever it works
                "exp_avg": moments[f"{name}/exp_avg"].to(parameter.device),
                "exp_avg_sq": moments[f"{name}/exp_avg_sq"].to(parameter.device),
            }
    return int(facts["step"])


def _moments(module: nn.Module, adam: torch.optim.Adam) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value
        for name, parameter in module.named_parameters()
        for key, value in adam.state.get(parameter, {}).items()
    }
