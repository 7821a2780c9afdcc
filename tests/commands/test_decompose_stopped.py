"""Runs that are killed, interrupted, doubled or divided end in the results of one quiet run."""

import json
import os
import random
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from made_clips import assert_refused, make_clip, tree
from warm_process import warm_python

from slotcli import faults
from slotcli.tracks.slot_file import read_slot_file

pytestmark = pytest.mark.slow

ON = ["--device", "cpu", "--threads", "1", "--masks", "png", "--masks", "ffv1", "--chunk", "4"]
COUNTS = {"a.mp4": 29, "b.mp4": 17, "sub/c.mp4": 22}
KILLS = int(os.environ.get("SLOTCLI_KILLS", "3"))
Process = subprocess.Popen[str]
TIMES = ("seconds", "busy_seconds", "frames_per_second", "resumed_frames")


class Runs:
    """slotcli in the children of one process, on the clips of `clips`."""

    def __init__(self, folder: Path, clips: Path, model: Path, process: Process) -> None:
        self.folder, self._clips, self._model = folder, clips, model
        self._turns = folder / "turns"
        self._process = process

    def run(self, out: str, *options: str, **how: object) -> dict:
        given = ["decompose", str(self._clips), "-r", "--out", str(self.folder / out), *ON]
        given += ["--model", str(self._model), *options]
        return (
            {"arguments": given, "log": str(self.folder / f"{out}.log")}
            | how
            | {"turns": str(self._turns)}
        )

    def __call__(self, jobs: list[list[dict]]) -> list[dict]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(jobs) + "\n")
        self._process.stdin.flush()
        return [json.loads(self._process.stdout.readline()) for _ in jobs]

    def frames_encoded(self) -> int:
        return self._turns.stat().st_size

    def result(self, out: str) -> dict[str, object]:
        """Every file below an output folder, without what says how long it took."""
        found: dict[str, object] = tree(self.folder / out)
        for name in list(found):
            path = self.folder / out / name
            if path.name == "report.html" or path.name.startswith(("summary", "index")):
                del found[name]
            elif path.name == "result.json":
                facts = json.loads(path.read_text())
                # None in a run within two seconds of when the clip was written.
                del facts["source"]["state"]
                found[name] = {key: facts[key] for key in facts if key not in TIMES}
        return found


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for name, count in COUNTS.items():
        make_clip(folder / name, count)
    return folder


@pytest.fixture(scope="module")
def process():
    """Loads torch once for all runs."""
    with subprocess.Popen(
        [*warm_python(), str(Path(__file__).with_name("many_runs.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        yield process
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.fixture
def runs(clips, tiny_model, tmp_path, process):
    return Runs(tmp_path, clips, tiny_model, process)


@pytest.fixture(scope="module")
def quiet(clips, tiny_model, tmp_path_factory, process):
    """What one undisturbed run makes, and how long it takes."""
    runs = Runs(tmp_path_factory.mktemp("quiet"), clips, tiny_model, process)
    (told,) = runs([[runs.run("out")]])
    assert told["codes"] == [0]
    assert runs.frames_encoded() == sum(COUNTS.values())
    return runs.result("out"), told["seconds"]


def test_killed_at_any_moment_and_run_again(runs, quiet, record_property):
    whole, seconds = quiet
    rng = random.Random(KILLS)
    moments = [rng.uniform(0.02, 0.8) * seconds for _ in range(KILLS)]
    jobs = []
    for number, moment in enumerate(moments):
        jobs.append([runs.run(f"out{number}", after=moment, signal=signal.SIGKILL)])
        jobs.append([runs.run(f"out{number}")])
    told = runs(jobs)
    assert [job["codes"] for job in told[1::2]] == [[0]] * KILLS
    killed = sum(job["codes"] == [-signal.SIGKILL] for job in told[::2])
    assert killed  # on a busy machine some end before their moment comes
    for number in range(KILLS):
        assert runs.result(f"out{number}") == whole, number
    repeated = runs.frames_encoded() - KILLS * sum(COUNTS.values())
    # The first chunk of a clip has at least 16 frames; what was being encoded is lost.
    assert 0 <= repeated <= killed * 16
    record_property("kills", f"{killed} kills, {repeated} frames encoded twice")
    print(f"{killed} SIGKILLs: results bit-identical, {repeated} frames encoded twice")


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_and_run_again(runs, quiet, stop, code):
    whole, _ = quiet
    name = {signal.SIGINT: "int", signal.SIGTERM: "term"}[stop]
    fault = {"SLOTCLI_FAULT": f"{name}@chunk:3"}
    told = runs([[runs.run("out", environment=fault)], [runs.run("out")]])
    assert [job["codes"] for job in told] == [[code], [0]]
    log = (runs.folder / "out.log").read_text()
    assert "The same command resumes" in log
    assert ", 20 of them from before, " in log or ", 24 of them from before, " in log
    assert runs.result("out") == whole
    assert runs.frames_encoded() <= sum(COUNTS.values()) + 4


def test_two_runs_on_one_folder_share_the_work(runs, quiet):
    whole, _ = quiet
    told = runs([[runs.run("out"), runs.run("out"), runs.run("out")]])
    assert told[0]["codes"] == [0, 0, 0]
    assert runs.result("out") == whole
    assert runs.frames_encoded() == sum(COUNTS.values())


def test_shards_are_parts_of_the_whole(runs, quiet):
    whole, _ = quiet
    told = runs([[runs.run("out", "--shard", f"{i}/2")] for i in (1, 2)])
    assert [job["codes"] for job in told] == [[0], [0]]
    assert runs.result("out") == whole
    assert runs.frames_encoded() == sum(COUNTS.values())
    names = {path.name for path in (runs.folder / "out").iterdir()}
    assert {"summary-1-of-2.json", "index-2-of-2.html"} <= names


def test_a_journal_of_other_options_is_not_gone_on_with(runs, quiet):
    whole, _ = quiet
    killed = {"SLOTCLI_FAULT": "kill@chunk:3"}
    told = runs(
        [
            [runs.run("out", "--reset", "every:5", environment=killed)],
            [runs.run("out")],
        ]
    )
    assert [job["codes"] for job in told] == [[-signal.SIGKILL], [0]]
    again = runs.result("out")
    records = [facts for facts in again.values() if isinstance(facts, dict)]
    (remark,) = [remark for facts in records for remark in facts["warnings"]]
    assert "had other weights or options" in remark
    assert "frames from 0 on were computed again" in remark
    assert remark in (runs.folder / "out.log").read_text()
    for facts in records:
        facts["warnings"] = []
    assert again == whole


@pytest.fixture
def decompose(cli, tiny_model, tmp_path, monkeypatch):
    def run(fault, *options):
        monkeypatch.setenv("SLOTCLI_FAULT", fault)
        monkeypatch.setattr(faults, "_passes", Counter())
        make_clip(tmp_path / "a.mp4", 40)
        given = ["decompose", "a.mp4", "--out", "out", "--model", tiny_model, *ON, *options]
        code, _, err = cli(*given)
        return code, err

    return run


# Seven chunks of the journal, then the files of the result.
@pytest.mark.parametrize("number", [1, 3, 8, 9, 10, 11])
def test_a_disk_that_is_full_at_the_nth_file(decompose, tmp_path, number):
    code, err = decompose(f"enospc@write:{number}")
    assert code == 74
    assert_refused(err)
    assert not (tmp_path / "out").exists()


def test_a_frame_that_is_no_number_is_named(decompose, tmp_path):
    code, err = decompose("nan@encode:3")
    assert code == 70
    assert_refused(err)
    # 16 frames of lead-in, then chunks of 4.
    assert "Frame 20: the slots are not finite" in err
    assert not (tmp_path / "out").exists()


def test_memory_that_runs_out_once(decompose, tmp_path):
    assert decompose("oom@encode:2")[0] == 0
    found = read_slot_file(tmp_path / "out/a.mp4/clip.slots.safetensors")
    assert decompose("", "--overwrite")[0] == 0
    quiet = read_slot_file(tmp_path / "out/a.mp4/clip.slots.safetensors")
    assert abs(found.slots - quiet.slots).max() < 1e-5
