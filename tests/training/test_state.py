"""A run's state comes back as it was, and only if it was written to its end."""

from pathlib import Path

import pytest
import torch
from torch import nn

from slotcli.errors import CannotCreateError, DataError
from slotcli.training.optimiser import Average
from slotcli.training.state import complete_states, load_state, save_state


class Run:
    """A module with everything that is saved beside it, after some steps of training."""

    def __init__(self, steps: int, width: int = 3) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Conv2d(3, width, 3), nn.GroupNorm(1, width))
        self.module.to(memory_format=torch.channels_last)
        self.adam = torch.optim.Adam(self.module.parameters(), lr=0.1)
        self.average = Average(self.module, 0.9)
        self.memory = {"used": torch.zeros(4, dtype=torch.bool)}
        for step in range(steps):
            self.step(step)

    def step(self, step: int) -> None:
        torch.manual_seed(step)
        self.module(torch.randn(2, 3, 8, 8)).square().mul(torch.rand(6, 6)).mean().backward()
        self.adam.step()
        self.adam.zero_grad()
        self.average.update()
        self.memory["used"][step % 4] = True

    def save(self, folder: Path, step: int) -> None:
        save_state(folder, step, self.module, self.average, self.adam, self.memory)

    def load(self, path: Path) -> int:
        return load_state(path, self.module, self.average, self.adam, self.memory)


def test_a_restored_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    undisturbed = Run(3)
    undisturbed.save(tmp_path, 3)
    resumed = Run(0)
    assert resumed.load(complete_states(tmp_path)[-1]) == 3
    for step in range(3, 6):
        undisturbed.step(step)
        resumed.step(step)
    assert resumed.average.updates == undisturbed.average.updates == 6
    assert torch.equal(resumed.memory["used"], undisturbed.memory["used"])
    for name, parameter in undisturbed.module.named_parameters():
        assert torch.equal(resumed.module.get_parameter(name), parameter)
        assert torch.equal(resumed.average.shadow[name], undisturbed.average.shadow[name])
    undisturbed.save(tmp_path / "a", 6)
    resumed.save(tmp_path / "b", 6)
    for path in sorted((tmp_path / "a" / "step-00000006").iterdir()):
        assert (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes() == path.read_bytes()


def test_a_state_before_the_first_step(tmp_path: Path) -> None:
    Run(0).save(tmp_path, 0)
    assert Run(2).load(complete_states(tmp_path)[0]) == 0


def test_the_last_two_states_are_kept(tmp_path: Path) -> None:
    run = Run(1)
    for step in (9, 10, 100, 1000):
        run.save(tmp_path, step)
    assert [path.name for path in complete_states(tmp_path)] == ["step-00000100", "step-00001000"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_state_without_its_marker_is_none(tmp_path: Path) -> None:
    run = Run(1)
    run.save(tmp_path, 1)
    run.save(tmp_path, 2)
    (tmp_path / "step-00000002" / "COMPLETE").unlink()
    (tmp_path / ".step-00000003.part").mkdir()
    assert [path.name for path in complete_states(tmp_path)] == ["step-00000001"]
    run.save(tmp_path, 2)
    run.save(tmp_path, 3)
    assert [path.name for path in complete_states(tmp_path)] == ["step-00000002", "step-00000003"]


def test_no_state_where_there_is_no_folder(tmp_path: Path) -> None:
    assert complete_states(tmp_path / "nowhere") == []


def test_the_state_of_another_model_is_refused(tmp_path: Path) -> None:
    Run(1, width=5).save(tmp_path, 1)
    with pytest.raises(DataError):
        Run(0).load(complete_states(tmp_path)[0])


@pytest.mark.parametrize("name", ["weights", "average", "adam", "task"])
def test_a_damaged_state_is_refused(tmp_path: Path, name: str) -> None:
    Run(1).save(tmp_path, 1)
    path = complete_states(tmp_path)[0] / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=name):
        Run(0).load(path.parent)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotCreateError):
        Run(1).save(tmp_path / "file" / "state", 1)
