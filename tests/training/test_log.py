import csv
import json
from pathlib import Path

from slotcli.training.log import RunLog

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
