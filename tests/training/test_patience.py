"""A run that judges its start, and ends where it gets no better."""

import json
from collections.abc import Sequence
from pathlib import Path
from signal import SIGTERM, raise_signal

import pytest
import torch

from slotcli.build import build_model
from slotcli.checkpoint import WEIGHTS, read_tensors
from slotcli.data.rendered import SynthDataset
from slotcli.errors import Terminated, UsageError
from slotcli.files.layout import PAGE
from slotcli.spec import SlotModelSpec, SynthSpec
from slotcli.training.loop import BEST, train
from slotcli.training.report import write_run_report
from slotcli.training.run_facts import final_row
from slotcli.training.tasks.slots import SlotTask
from slotcli.types import ClipBatch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips() -> SynthDataset:
    return SynthDataset(SynthSpec(mix={"A": 1.0}, clips=4, frames=3), (32, 32))


@pytest.fixture
def spec(tiny_slot_spec: SlotModelSpec) -> SlotModelSpec:
    return patient(tiny_slot_spec, 2)


def patient(spec: SlotModelSpec, patience: int) -> SlotModelSpec:
    options = {"steps": 6, "evaluate_every": 1, "patience": patience}
    return spec.model_copy(update={"train": spec.train.model_copy(update=options)})


class Told(SlotTask):
    """A task whose held-out clips say what the test wants."""

    def __init__(
        self, spec: SlotModelSpec, clips: SynthDataset, scores: Sequence[float | None]
    ) -> None:
        torch.manual_seed(0)
        frames = torch.stack([clips.clip(index, 0, 3).frames for index in range(2)])
        super().__init__(spec, build_model(spec), clips, ClipBatch(frames), torch.device("cpu"))
        self._scores = list(scores)

    def evaluate(self) -> dict[str, float | None]:
        return {"degeneration": self._scores.pop(0)}


def run(spec: SlotModelSpec, task: SlotTask, out: Path) -> None:
    train(spec, task, out, resume=True, command=["tests"], progress=lambda *_: None)


def judged(out: Path) -> list[tuple[int, float | None]]:
    rows = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    return [(row["step"], row["degeneration"]) for row in rows]


def test_it_ends_where_it_got_no_better_and_keeps_the_best(spec, clips, tmp_path):
    run(spec, Told(spec, clips, (0.5, 0.4, 0.45, 0.41)), tmp_path)
    assert judged(tmp_path) == [(0, 0.5), (1, 0.4), (2, 0.45), (3, 0.41)]
    _, facts = read_tensors(tmp_path / BEST)
    assert (facts["step"], facts["provenance"]["score"]) == (1, -0.4)
    last = final_row(tmp_path, spec.train)
    assert last is not None
    assert last["step"] == 3
    write_run_report(tmp_path)
    assert "3 of 6 training steps, ended for it got no better" in (tmp_path / PAGE).read_text()
    with pytest.raises(UsageError, match="ended at step 3"):
        run(spec, Told(spec, clips, ()), tmp_path)
    more = patient(spec, 4)
    assert final_row(tmp_path, more.train) is None
    run(more, Told(more, clips, (0.3, 0.6, 0.6)), tmp_path)
    assert [step for step, _ in judged(tmp_path)] == list(range(7))


def test_the_start_is_kept_where_nothing_is_better(spec, clips, tmp_path):
    task = Told(spec, clips, (0.5, 0.6, 0.7))
    before = {name: value.clone() for name, value in task.module.state_dict().items()}
    run(spec, task, tmp_path)
    assert [step for step, _ in judged(tmp_path)] == [0, 1, 2]
    kept, facts = read_tensors(tmp_path / BEST)
    assert facts["step"] == 0
    assert all(torch.equal(kept[name], value) for name, value in before.items())
    latest, _ = read_tensors(tmp_path / WEIGHTS)
    assert not all(torch.equal(latest[name], value) for name, value in before.items())


def test_without_patience_the_start_is_not_judged(spec, clips, tmp_path):
    spec = patient(spec, 0)
    run(spec, Told(spec, clips, [0.5, *[0.6] * 5]), tmp_path)
    assert [step for step, _ in judged(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_scores_that_are_not_known_end_nothing(spec, clips, tmp_path):
    run(spec, Told(spec, clips, [None] * 7), tmp_path)
    assert [step for step, _ in judged(tmp_path)] == list(range(7))
    assert final_row(tmp_path, spec.train) is not None


def test_stopped_while_the_start_is_judged(spec, clips, tmp_path):
    task = Told(spec, clips, (0.5, 0.4, 0.45, 0.41))
    once = task.evaluate

    def interrupted() -> dict[str, float | None]:
        raise_signal(SIGTERM)
        return once()

    task.evaluate = interrupted
    with pytest.raises(Terminated):
        run(spec, task, tmp_path)
    assert judged(tmp_path) == []
    run(spec, Told(spec, clips, (0.5, 0.4, 0.45, 0.41)), tmp_path)
    assert judged(tmp_path) == [(0, 0.5), (1, 0.4), (2, 0.45), (3, 0.41)]
