"""train, killed or told to stop at any moment and run again: the undisturbed run, to the bit."""

import json
import os
import random
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from made_clips import make_clip
from warm_process import warm_python

from slotcli import faults
from slotcli.checkpoint import read_tensors

pytestmark = pytest.mark.slow

STEPS = 12
CLOCKED = {"steps_per_second", "data_wait"}
SAVES = (
    4 * 5
)  # at steps 0, 5, 10 and 12; before each of four files, and before all take their place
KILLS = int(os.environ.get("SLOTCLI_KILLS", "3"))
RNG = random.Random(KILLS)
KILLED = [f"kill@step:{n}" for n in RNG.sample(range(1, STEPS + 1), min(KILLS, STEPS))]
KILLED += [f"kill@save:{n}" for n in RNG.sample(range(1, SAVES + 1), min(KILLS // 2, SAVES))]
STOPPED = [f"term@step:{n}" for n in RNG.sample(range(1, STEPS + 1), min(KILLS, STEPS))]
NAN = {
    "some": "nan@step:3,nan@step:4,nan@step:8",
    "row": "nan@step:7,nan@step:8,nan@step:9",
    "ever": ",".join(f"nan@step:{n}" for n in range(7, 99)),
}
DEFINITION = """
kind = "slot_model"
name = "stopped"
size = [16, 16]
num_slots = 3
slot_dim = 8
encoder = { backbone = { kind = "compact_cnn", channels = 8 }, predictor = { layers = 1 } }
decoder = { kind = "spatial_broadcast", channels = 4 }

[train]
steps = 12
evaluate_every = 5
batch_size = 2
learning_rate = 1e-3
decoder_learning_rate = 1e-3
clip_length = 2
clip_norm = 1.0
ema = 0.9
flip = true
"""


class Runs:
    """The arguments of a run, and what runs left behind."""

    def __init__(self, folder: Path, given: list[str]) -> None:
        self._folder, self._given = folder, given

    def arguments(self, out: str) -> list[str]:
        given = ["train", "--out", str(self._folder / out), *self._given]
        return [*given, "--device", "cpu", "--threads", "1"]

    def job(self, out: str, fault: str = "") -> list[dict]:
        """A run as many_runs takes it."""
        log = str(self._folder / f"{out}.log")
        environment = {"SLOTCLI_FAULT": fault}
        return [{"arguments": self.arguments(out), "log": log, "environment": environment}]

    def log(self, out: str) -> str:
        return (self._folder / f"{out}.log").read_text()

    def rows(self, out: str) -> list[dict]:
        """The log without the clock."""
        lines = (self._folder / out / "log.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return [{key: row[key] for key in row if key not in CLOCKED} for row in rows]

    def result(self, out: str) -> dict[str, object]:
        """What a run leaves behind at its end, without the clock and the command."""
        folder = self._folder / out
        found: dict[str, object] = {"log": self.rows(out)}
        for name in ("weights", "best"):
            tensors, facts = read_tensors(folder / f"{name}.safetensors")
            del facts["provenance"]["command"]
            found[name] = ({key: value.tolist() for key, value in tensors.items()}, facts)
        last = folder / "state" / f"step-{STEPS:08d}"
        return found | {path.name: path.read_bytes() for path in last.iterdir()}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """All runs of this file, one after the other, and the codes that they ended with."""
    folder = tmp_path_factory.mktemp("stopped")
    for name in ("a", "b", "c"):
        make_clip(folder / "clips" / f"{name}.mp4", 4)
    (folder / "model.toml").write_text(DEFINITION)
    runs = Runs(folder, ["--config", str(folder / "model.toml"), "--data", str(folder / "clips")])
    jobs = [("quiet", runs.job("quiet"))]
    for fault in (*KILLED, *STOPPED):
        jobs += [(fault, runs.job(fault, fault)), (f"{fault} again", runs.job(fault))]
    jobs += [(name, runs.job(name, fault)) for name, fault in NAN.items()]
    process = subprocess.run(
        [*warm_python(), str(Path(__file__).with_name("many_runs.py"))],
        input=json.dumps([job for _, job in jobs]),
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TURNS": os.devnull, "OMP_NUM_THREADS": "1"},
        timeout=600,
        check=True,
    )
    codes = [json.loads(line)["codes"][0] for line in process.stdout.splitlines()]
    names = [name for name, _ in jobs]
    return runs, dict(zip(names, codes, strict=True))


def test_an_undisturbed_run_says_nothing_of_all_that(told):
    runs, codes = told
    assert codes["quiet"] == 0, runs.log("quiet")
    assert [row["step"] for row in runs.rows("quiet")] == [5, 10, STEPS]
    assert "warning" not in runs.log("quiet")


@pytest.mark.parametrize("fault", sorted(set(KILLED)))
def test_killed_and_run_again(told, fault):
    runs, codes = told
    assert (codes[fault], codes[f"{fault} again"]) == (-signal.SIGKILL, 0), runs.log(fault)
    assert runs.result(fault) == runs.result("quiet")


@pytest.mark.parametrize("fault", sorted(set(STOPPED)))
def test_told_to_stop_and_run_again(told, fault):
    runs, codes = told
    assert (codes[fault], codes[f"{fault} again"]) == (143, 0), runs.log(fault)
    assert "The same command resumes" in runs.log(fault)
    assert runs.result(fault) == runs.result("quiet")


def test_a_step_that_is_not_finite_is_skipped(told):
    runs, codes = told
    assert codes["some"] == 0
    assert [(r["skipped"], r["rollbacks"]) for r in runs.rows("some")] == [(2, 0), (3, 0), (3, 0)]
    assert runs.log("some").count("not finite. Skipped") == 3
    assert "rollback" not in runs.log("some")


def test_three_in_a_row_take_a_run_back(told):
    runs, codes = told
    assert codes["row"] == 0
    rows, quiet = runs.rows("row"), runs.rows("quiet")
    assert [(r["skipped"], r["rollbacks"]) for r in rows] == [(0, 0), (3, 1), (3, 1)]
    assert "back from step 9 to 5, with half the learning rate" in runs.log("row")
    assert rows[0] == quiet[0]
    assert rows[1]["learning_rate"] == quiet[1]["learning_rate"] / 2


def test_the_fourth_time_ends_it(told):
    runs, codes = told
    assert codes["ever"] == 70
    log = runs.log("ever")
    assert log.count("with half the learning rate") == 3
    assert "even at 1/8 of the learning rate" in log
    assert "Traceback" not in log
    assert [row["step"] for row in runs.rows("ever")] == [5]


def test_a_damaged_state_is_said_and_the_one_before_used(told, cli, monkeypatch, tmp_path):
    runs, _ = told
    monkeypatch.setattr(faults, "_passes", Counter())
    monkeypatch.setenv("SLOTCLI_FAULT", "term@step:12")
    assert cli(*runs.arguments("damaged"))[0] == 143
    monkeypatch.delenv("SLOTCLI_FAULT")
    folder = Path(runs.arguments("damaged")[2])
    path = folder / "state" / "step-00000012" / "average.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    code, _, err = cli(*runs.arguments("damaged"))
    assert code == 0, err
    assert "warning:" in err
    assert "step-00000012 is left out: going on from step-00000010" in err
    aside = folder / "state" / "step-00000012.damaged"
    assert (aside / path.name).read_bytes() == bytes(content)
    assert len(list(aside.iterdir())) == 5
    assert runs.result("damaged") == runs.result("quiet")
