"""--seeds, --dry-run, and a run of two processes, through the command line."""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest
from made_clips import make_clip
from warm_process import warm_python

from slotcli import faults
from slotcli.checkpoint import load_model, read_tensors

pytestmark = pytest.mark.slow

DEFINITION = """
kind = "slot_model"
name = "small"
size = [16, 16]
num_slots = 3
slot_dim = 8
encoder = { backbone = { kind = "compact_cnn", channels = 8 }, predictor = { layers = 1 } }
decoder = { kind = "spatial_broadcast", channels = 4 }

[train]
steps = 4
evaluate_every = 4
batch_size = 4
learning_rate = 1e-3
decoder_learning_rate = 1e-3
clip_length = 2
"""


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    for name in ("a", "b", "c"):
        make_clip(tmp_path / "clips" / f"{name}.mp4", 4)
    (tmp_path / "model.toml").write_text(DEFINITION)
    places = ["--config", str(tmp_path / "model.toml"), "--data", str(tmp_path / "clips")]
    return ["train", *places, "--device", "cpu", "--threads", "1"]


def test_seeds_are_judged_by_degeneration_and_listed(cli, given, tmp_path, monkeypatch):
    code, out, err = cli(*given, "--out", "many", "--seeds", "2,0,5")
    assert code == 0, err
    listed = json.loads((tmp_path / "many" / "seeds.json").read_text())
    assert listed["judged_by"] == "degeneration"
    assert [run["seed"] for run in listed["seeds"]] == [2, 0, 5]
    found = {run["seed"]: run["degeneration"] for run in listed["seeds"]}
    assert found[listed["chosen"]] == min(found.values())
    assert [line.split(":")[0] for line in out.splitlines()] == ["seed 2", "seed 0", "seed 5"]
    chosen = tmp_path / "many" / f"seed-{listed['chosen']}" / "weights.safetensors"
    assert (tmp_path / "many" / "weights.safetensors").read_bytes() == chosen.read_bytes()
    run = tmp_path / "many" / "seed-2"
    assert {"model.toml", "run.json", "curves.svg"} <= {path.name for path in run.iterdir()}
    assert [path.name for path in (run / "masks").iterdir()] == ["step-00000004.png"]
    assert cli("report", run)[0] == 0
    assert load_model(str(tmp_path / "many")).spec.train.seed == listed["chosen"]
    # Again: what is there is not trained once more; what is new is.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "many").rglob("log.jsonl")}
    code, _, err = cli(*given, "--out", "many", "--seeds", "2,0,5,1")
    assert code == 0, err
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "many").rglob("log.jsonl")}
    assert {path: after[path] for path in before} == before
    assert len(after) == 4
    # A seed of its own is the run that --set train.seed is.
    code, _, err = cli(*given, "--out", "one", "--set", "train.seed=5")
    assert code == 0, err
    one, many = (
        read_tensors(tmp_path / p / "weights.safetensors")[0] for p in ("one", "many/seed-5")
    )
    assert all(one[name].equal(many[name]) for name in one)


def test_a_seed_that_comes_to_nothing_does_not_end_the_others(cli, given, tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "_passes", faults.Counter())
    monkeypatch.setenv("SLOTCLI_FAULT", ",".join(f"nan@step:{n}" for n in range(1, 13)))
    code, _, err = cli(*given, "--out", "many", "--seeds", "0,1")
    assert code == 0, err
    assert "seed 0: the loss is not finite" in err
    listed = json.loads((tmp_path / "many" / "seeds.json").read_text())
    assert (listed["chosen"], listed["seeds"][0]["degeneration"]) == (1, None)
    assert "not finite" in listed["seeds"][0]["failure"]


@pytest.mark.parametrize("seeds", ["", "a", "1,1", "-1", "1,,2"])
def test_seeds_that_are_no_list(cli, given, tmp_path, seeds):
    code, _, err = cli(*given, "--out", "many", f"--seeds={seeds}")
    assert (code, "--seeds" in err) == (2, True)
    assert not (tmp_path / "many").exists()


def test_a_dry_run_counts_and_does_nothing(cli, given, tmp_path):
    code, out, err = cli("--json", *given, "--out", "run", "--dry-run")
    assert code == 0, err
    facts = json.loads(out)
    assert not (tmp_path / "run").exists()
    assert (facts["steps"], facts["batch_size"], facts["clips"], facts["held_out"]) == (4, 4, 3, 3)
    assert facts["processes"] == 1
    assert facts["weights_bytes"] >= 4 * facts["parameters"]
    assert facts["gradients_bytes"] == facts["average_bytes"] == 4 * facts["trained_parameters"]
    assert facts["adam_bytes"] == 2 * facts["gradients_bytes"]
    parts = sum(value for name, value in facts.items() if name.endswith("_bytes"))
    assert facts["total_bytes"] == parts - facts["total_bytes"]
    code, out, err = cli(*given, "--out", "run", "--dry-run", "--set", "train.accumulate=3")
    assert (code, "cannot be divided" in err) == (2, True)
    code, out, err = cli(
        "--json", *given, "--out", "run", "--dry-run", "--set", "train.accumulate=2"
    )
    assert json.loads(out)["activations_bytes"] * 2 == facts["activations_bytes"] > 0
    code, out, err = cli(*given, "--out", "run", "--dry-run")
    assert (code, "total bytes" in out, "trained parameters" in out) == (0, True, True)


def start(given: list[str], out: Path, port: int, rank: int, **more: str) -> subprocess.Popen[str]:
    world = {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    return subprocess.Popen(
        [*warm_python(), "-m", "slotcli", *given, "--out", str(out)],
        env=os.environ
        | world
        | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        | more,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_signal_to_one_process_stops_both_and_they_go_on(cli, given, tmp_path):
    """What two processes made, stopped in between, is what one makes in two parts."""
    out, port = tmp_path / "two", free_port()
    fault = {"SLOTCLI_FAULT": "term@step:2"}
    both = [start(given, out, port, 0), start(given, out, port, 1, **fault)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [143, 143], said
    assert (out / "state" / "step-00000002" / "COMPLETE").is_file()
    assert "3 clips" in said[0]
    assert "3 clips" not in said[1]
    port = free_port()
    both = [start(given, out, port, 0), start(given, out, port, 1)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[1] == ""
    code, _, err = cli(*given, "--out", "parts", "--set", "train.accumulate=2")
    assert code == 0, err
    two, parts = (read_tensors(tmp_path / p / "weights.safetensors")[0] for p in ("two", "parts"))
    assert all(two[name].equal(parts[name]) for name in two)
    rows = [(tmp_path / p / "log.jsonl").read_text().splitlines() for p in ("two", "parts")]
    losses = [[json.loads(row)["loss"] for row in each] for each in rows]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 1
