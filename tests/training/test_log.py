import csv
import json
import os
import sys
from pathlib import Path

import pytest

from slotcli.errors import DataError, UnavailableError
from slotcli.training.log import RunLog, read_log

COLUMNS = ["step", "loss", "score"]


def steps(folder: Path) -> tuple[list[int], list[int]]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    with (folder / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [json.loads(line)["step"] for line in lines], [int(row["step"]) for row in rows]


def test_rows_are_appended_to_both_files(tmp_path: Path) -> None:
    log = RunLog(tmp_path, COLUMNS, 0)
    log.add({"step": 1, "loss": 0.5, "score": None})
    log.add({"step": 2, "loss": 0.25})
    assert steps(tmp_path) == ([1, 2], [1, 2])
    assert (tmp_path / "log.csv").read_text().splitlines() == [
        "step,loss,score",
        "1,0.5,",
        "2,0.25,",
    ]


def test_rows_after_the_step_resumed_from_are_dropped(tmp_path: Path) -> None:
    log = RunLog(tmp_path, COLUMNS, 0)
    for step in (50, 100, 150):
        log.add({"step": step, "loss": 1 / 3})
    log = RunLog(tmp_path, COLUMNS, 100)
    assert steps(tmp_path) == ([50, 100], [50, 100])
    log.add({"step": 150, "loss": 0.1})
    assert steps(tmp_path) == ([50, 100, 150], [50, 100, 150])
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])["loss"] == 1 / 3


def test_a_row_that_a_crash_cut_short_is_dropped(tmp_path: Path) -> None:
    log = RunLog(tmp_path, COLUMNS, 0)
    log.add({"step": 50, "loss": 1.0})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 100, "lo')
    RunLog(tmp_path, COLUMNS, 50)
    assert steps(tmp_path) == ([50], [50])


def test_a_run_from_the_start_begins_an_empty_log(tmp_path: Path) -> None:
    RunLog(tmp_path, COLUMNS, 0).add({"step": 50, "loss": 1.0})
    RunLog(tmp_path, COLUMNS, 0)
    assert steps(tmp_path) == ([], [])


def test_what_is_no_finite_number_is_null_in_both_files(tmp_path: Path) -> None:
    log = RunLog(tmp_path, COLUMNS, 0)
    log.add({"step": 1, "loss": float("nan"), "score": float("inf")})
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 1, "loss": null, "score": null}\n'
    assert (tmp_path / "log.csv").read_text().splitlines()[1] == "1,,"


def test_of_steps_that_were_taken_again_the_later_ones_count(tmp_path: Path) -> None:
    taken = [(50, 1.0), (100, 2.0), (150, 3.0), (100, 4.0), (120, 5.0)]
    lines = [json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in taken]
    (tmp_path / "log.jsonl").write_text("".join(lines) + '{"step": 170, "lo')
    rows = [(row["step"], row["loss"]) for row in read_log(tmp_path)]
    assert rows == [(50, 1.0), (100, 4.0), (120, 5.0)]


@pytest.mark.parametrize("line", ["[]", "{}", '{"step": "1"}', '{"step": -1}', "7", "{", "\udcff"])
def test_what_is_no_log_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "log.jsonl").write_bytes(os.fsencode(f'{{"step": 1}}\n{line}\n'))
    with pytest.raises(DataError, match=r"log\.jsonl"):
        read_log(tmp_path)


def test_tensorboard_reads_every_figure_and_none_of_steps_taken_again(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path, COLUMNS, 0, tensorboard=True)
    for step in (50, 100, 150):
        log.add({"step": step, "loss": step / 4, "score": None})
    log = RunLog(tmp_path, COLUMNS, 100, tensorboard=True)
    log.add({"step": 130, "loss": 0.5, "score": 0.25})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["loss", "score"]
    loss = [(event.step, event.value) for event in events.Scalars("loss")]
    assert loss == [(50, 12.5), (100, 25.0), (130, 0.5)]
    assert [(event.step, event.value) for event in events.Scalars("score")] == [(130, 0.25)]


def test_without_tensorboard_it_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UnavailableError) as raised:
        RunLog(tmp_path, COLUMNS, 0, tensorboard=True)
    assert "slotcli[log]" in raised.value.advice
    assert list(tmp_path.iterdir()) == []
