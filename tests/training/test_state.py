"""A run's state comes back as it was, or not at all."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from slotcli.checkpoint import read_tensors, write_tensors
from slotcli.errors import CannotCreateError, DataError
from slotcli.training.optimiser import Average
from slotcli.training.state import RunState, load_state, save_state


class Run:
    """A module with everything that is saved beside it, after some steps of training."""

    def __init__(self, steps: int, width: int = 3) -> None:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, width, 3), nn.GroupNorm(1, width))
        module.to(memory_format=torch.channels_last)
        adam = torch.optim.Adam(module.parameters(), lr=0.1)
        memory = {"used": torch.zeros(4, dtype=torch.bool)}
        self.state = RunState(module, Average(module, 0.9), adam, memory)
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        state = self.state
        torch.manual_seed(state.step)
        state.module(torch.randn(2, 3, 8, 8)).square().mul(torch.rand(6, 6)).mean().backward()
        state.adam.step()
        state.adam.zero_grad()
        state.average.update()
        state.memory["used"][state.step % 4] = True
        state.step += 1
        state.since += 1
        state.counted += 1
        state.sums["loss"] = state.sums.get("loss", 0.0) + 1 / 3

    def save(self, path: Path) -> None:
        save_state(path, self.state, None)

    def load(self, path: Path) -> None:
        load_state(path, self.state)

    def everything(self) -> dict[str, object]:
        """What a state is, as plain values."""
        state = self.state
        adam = {
            name: {key: value.tolist() for key, value in state.adam.state.get(p, {}).items()}
            for name, p in state.module.named_parameters()
        }
        tensors = (state.module.state_dict(), state.average.shadow, state.memory)
        lists = [{name: t.tolist() for name, t in own.items()} for own in tensors]
        counts = (state.step, state.skipped, state.skipped_in_a_row, state.rollbacks)
        more = (state.average.updates, state.since, state.counted, dict(state.sums))
        return {"adam": adam, "tensors": lists, "counts": counts + more}


def test_a_restored_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    undisturbed = Run(3)
    undisturbed.state.skipped, undisturbed.state.rollbacks = 5, 1
    undisturbed.save(tmp_path / "at")
    resumed = Run(0)
    resumed.load(tmp_path / "at")
    assert resumed.everything() == undisturbed.everything()
    for _ in range(3):
        undisturbed.step()
        resumed.step()
    assert resumed.everything() == undisturbed.everything()
    undisturbed.save(tmp_path / "a")
    resumed.save(tmp_path / "b")
    for path in sorted((tmp_path / "a").iterdir()):
        assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes()


def test_a_state_before_the_first_step_is_one_to_go_back_to(tmp_path: Path) -> None:
    Run(0).save(tmp_path / "start")
    run = Run(2)
    run.load(tmp_path / "start")
    assert run.everything() == Run(0).everything()


def test_figures_are_summed_until_they_are_logged() -> None:
    run = Run(4)
    assert run.state.logged() == {"loss": pytest.approx(1 / 3)}
    assert (run.state.since, run.state.counted, run.state.sums) == (0, 0, {})
    assert run.state.logged() == {"loss": None}


def rewrite(name: str, change: Callable[[dict[str, torch.Tensor], dict], None]) -> Callable:
    """A sound file, with a digest of its own, that does not belong there."""

    def damage(folder: Path) -> None:
        path = folder / f"{name}.safetensors"
        tensors, facts = read_tensors(path)
        change(tensors, facts)
        write_tensors(path, tensors, facts)

    return damage


def flip_a_bit(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / f"{name}.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)

    return damage


def cut(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / f"{name}.safetensors"
        path.write_bytes(path.read_bytes()[:-1])

    return damage


FILES = ("weights", "average", "adam", "task")
DAMAGES = {
    **{f"a bit of {name}": flip_a_bit(name) for name in FILES},
    **{f"the end of {name}": cut(name) for name in FILES},
    "no file": lambda folder: (folder / "task.safetensors").unlink(),
    "no step": rewrite("weights", lambda _, facts: facts.pop("step")),
    "a step that is no integer": rewrite("weights", lambda _, facts: facts.update(step="3")),
    "a step that is true": rewrite("weights", lambda _, facts: facts.update(step=True)),
    "updates below 0": rewrite("weights", lambda _, facts: facts.update(updates=-1)),
    "moments unsaid": rewrite("weights", lambda _, facts: facts.pop("moments")),
    "moments of what is not there": rewrite("weights", lambda _, f: f.update(moments=["0.bias2"])),
    "sums that are text": rewrite("weights", lambda _, facts: facts.update(sums={"loss": "1"})),
    "a scale that is text": rewrite("weights", lambda _, f: f.update(scaler={"scale": "1"})),
    "a scale of 0": rewrite(
        "weights", lambda _, f: f.update(scaler={"scale": 0.0, "_growth_tracker": 1})
    ),
    "a moment missing": rewrite("adam", lambda tensors, _: tensors.pop("0.bias/exp_avg_sq")),
    "a moment of another shape": rewrite(
        "adam", lambda tensors, _: tensors.update({"0.bias/exp_avg": torch.zeros(2)})
    ),
    "moments of another step": rewrite("adam", lambda _, facts: facts.update(step=2)),
    "a weight missing": rewrite("weights", lambda tensors, _: tensors.pop("0.bias")),
    "an average of another shape": rewrite(
        "average", lambda tensors, _: tensors.update({"0.bias": torch.zeros(2)})
    ),
    "memory missing": rewrite("task", lambda tensors, _: tensors.pop("used")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_state_is_refused_and_changes_nothing(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    Run(3).save(tmp_path / "at")
    damage(tmp_path / "at")
    run = Run(2)
    before = run.everything()
    with pytest.raises(DataError):
        run.load(tmp_path / "at")
    assert run.everything() == before


def test_the_state_of_another_model_is_refused(tmp_path: Path) -> None:
    Run(1, width=5).save(tmp_path / "at")
    with pytest.raises(DataError):
        Run(0).load(tmp_path / "at")


def test_a_state_takes_the_place_of_one_of_its_name(tmp_path: Path) -> None:
    Run(1).save(tmp_path / "at")
    (tmp_path / ".at.part").mkdir()  # of a process that was killed
    Run(2).save(tmp_path / "at")
    assert [path.name for path in tmp_path.iterdir()] == ["at"]
    assert json.loads((tmp_path / "at" / "COMPLETE").read_text()) == {"score": None}
    run = Run(0)
    run.load(tmp_path / "at")
    assert run.everything() == Run(2).everything()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotCreateError):
        Run(1).save(tmp_path / "file" / "state")


def test_a_figure_summed_under_its_earlier_name_is_summed_on(tmp_path: Path) -> None:
    run = Run(2)
    run.state.sums["distortion"] = 0.5
    run.save(tmp_path / "state")
    resumed = Run(0)
    resumed.load(tmp_path / "state")
    assert resumed.state.sums == {"loss": pytest.approx(2 / 3), "grouping": 0.5}
