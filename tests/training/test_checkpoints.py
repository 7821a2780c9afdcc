"""Which states are kept, and which one a run goes on from."""

from pathlib import Path

import pytest
import torch
from torch import nn

from slotcli.errors import DataError
from slotcli.training.checkpoints import Checkpoints, put_aside
from slotcli.training.optimiser import Average
from slotcli.training.state import RunState


def state_at(step: int) -> RunState:
    module = nn.Linear(2, 1)
    nn.init.constant_(module.weight, float(step))
    adam = torch.optim.Adam(module.parameters())
    return RunState(module, Average(module, 0.9), adam, {}, step=step)


def save(checkpoints: Checkpoints, step: int, score: float | None = None) -> None:
    checkpoints.save(state_at(step), score)


def steps(checkpoints: Checkpoints) -> list[int]:
    return [int(path.name[5:]) for path in checkpoints.complete()]


@pytest.mark.parametrize(
    ("last", "every", "wanted"),
    [(2, 0, [50, 60]), (1, 0, [60]), (3, 0, [40, 50, 60]), (1, 20, [20, 40, 60]), (9, 1, None)],
)
def test_the_last_ones_and_every_nth_are_kept(
    tmp_path: Path, last: int, every: int, wanted: list[int] | None
) -> None:
    checkpoints = Checkpoints(tmp_path, last, every)
    for step in range(0, 70, 10):
        save(checkpoints, step)
    assert steps(checkpoints) == (wanted or list(range(0, 70, 10)))
    assert len(list(tmp_path.iterdir())) == len(steps(checkpoints))


def test_the_best_is_kept_until_a_better_or_an_equal_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, 1, 0)
    kept = {}
    scores = {1: -0.9, 2: None, 3: -0.2, 4: -0.5, 5: -0.2, 6: -0.8, 7: None}
    for step, score in scores.items():
        save(checkpoints, step, score)
        kept[step] = steps(checkpoints)
    assert kept == {1: [1], 2: [1, 2], 3: [3], 4: [3, 4], 5: [5], 6: [5, 6], 7: [5, 7]}
    best = checkpoints.best()
    assert best is not None
    assert (best[0].name, best[1]) == ("step-00000005", -0.2)


def test_steps_are_numbers_and_not_text(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, 2, 0)
    for step in (99_999_999, 100_000_000, 100_000_001):
        save(checkpoints, step)
    assert steps(checkpoints) == [100_000_000, 100_000_001]


def test_a_state_without_its_marker_is_none(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, 2, 0)
    save(checkpoints, 1)
    save(checkpoints, 2)
    (tmp_path / "step-00000002" / "COMPLETE").unlink()
    (tmp_path / ".step-00000003.part").mkdir()
    assert steps(checkpoints) == [1]
    save(checkpoints, 2)
    assert steps(checkpoints) == [1, 2]


def test_nothing_where_there_is_no_folder(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "nowhere", 2, 0)
    assert checkpoints.complete() == []
    assert checkpoints.best() is None
    assert checkpoints.load_newest(state_at(0), pytest.fail) == []


def damage(path: Path) -> bytes:
    content = bytearray((path / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "weights.safetensors").write_bytes(content)
    return bytes(content)


def test_damaged_states_are_said_left_out_and_put_aside(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, 4, 0)
    for step in (1, 2, 3):
        save(checkpoints, step)
    contents = [damage(path) for path in checkpoints.complete()[1:]]
    said: list[str] = []
    state = state_at(9)
    damaged = checkpoints.load_newest(state, said.append)
    assert (state.step, state.module.get_parameter("weight").tolist()) == (1, [[1.0, 1.0]])
    assert [path.name for path in damaged] == ["step-00000003", "step-00000002"]
    assert len(said) == 2
    for text, name in zip(said, ("step-00000003", "step-00000002"), strict=True):
        assert "digest" in text
        assert f"{name} is left out: going on from step-00000001" in text
    put_aside(damaged)
    assert steps(checkpoints) == [1]
    save(checkpoints, 2)
    damage(tmp_path / "step-00000002")
    put_aside(checkpoints.load_newest(state, said.append))
    for name, content in zip(("2", "3"), contents, strict=True):
        aside = tmp_path / f"step-0000000{name}.damaged"
        assert (aside / "weights.safetensors").read_bytes() == content
    assert (tmp_path / "step-00000002.damaged-2").is_dir()


def test_where_all_are_damaged_there_is_no_going_on(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, 2, 0)
    save(checkpoints, 1)
    save(checkpoints, 2)
    for path in checkpoints.complete():
        damage(path)
    with pytest.raises(DataError, match="step-00000002"):
        checkpoints.load_newest(state_at(0), pytest.fail)
    assert steps(checkpoints) == [1, 2]


@pytest.mark.parametrize("marker", ["", "[]", '{"score": "high"}', '{"score": NaN}', "\ufffd"])
def test_a_score_that_cannot_be_read_is_unknown(tmp_path: Path, marker: str) -> None:
    checkpoints = Checkpoints(tmp_path, 2, 0)
    save(checkpoints, 1, 0.5)
    (tmp_path / "step-00000001" / "COMPLETE").write_text(marker)
    assert checkpoints.best() is None
    assert steps(checkpoints) == [1]
