"""What can happen to a run and who may mean harm: lines 17 to 27 of the checklist of bad input.

Lines 1 to 16 are in test_checklist_inputs.py.
"""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import odd_clips
import pytest
from made_clips import assert_refused, make_clip, mask_files, run_in, tree

from slotcli import faults
from slotcli.tracks.slot_file import read_slot_file

pytestmark = pytest.mark.slow

ON = ["--device", "cpu", "--threads", "1"]
SLOTS = "clip.slots.safetensors"
LONG = 120
PATIENCE = 10  # seconds that a busy machine gets for what takes less than two on a free one


@pytest.fixture(autouse=True)
def no_faults(monkeypatch):
    monkeypatch.delenv("SLOTCLI_FAULT", raising=False)
    monkeypatch.setattr(faults, "_passes", Counter())


@pytest.fixture
def decompose(cli, tiny_model):
    def run(*arguments, out="out"):
        return cli("decompose", *arguments, "--out", out, "--model", tiny_model, *ON)

    return run


@pytest.fixture
def refused(cli, tiny_model, tmp_path):
    """The exit code and the words of a run that leaves everything as it was."""

    def run(*arguments, out="new/out"):
        before = tree(tmp_path)
        if arguments[0] == "decompose":
            given = [] if "--model" in arguments else ["--model", tiny_model]
            arguments = [*arguments, "--out", out, *given, *ON]
        code, said, err = cli(*arguments)
        assert_refused(err)
        assert said == ""
        assert tree(tmp_path) == before
        return code, err

    return run


@contextmanager
def mounted(folder, *options):
    """Mounts on a folder, in as many steps as there are options; skips where it may not."""
    folder.mkdir(exist_ok=True)
    try:
        for how in options:
            command = ["mount", *how.split(), str(folder)]
            subprocess.run(command, check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this user may not mount: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=10)


@pytest.fixture
def begun(tmp_path, tiny_model):
    """A slotcli at work in a process of its own, once the first chunks are in its journal."""
    started = []

    def run(*clips, out="out"):
        given = ["decompose", *clips, "--out", out, "--model", tiny_model, *ON]
        process = subprocess.Popen(
            [sys.executable, "-m", "slotcli", *map(str, given)],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        while not any(any(path.glob("*[0-9]")) for path in _journals(tmp_path / out)):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def _journals(out):
    return list(out.glob(".slotcli-*.journal")) if out.is_dir() else []


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("long") / "long.mp4", LONG)


@pytest.fixture(scope="module")
def quiet(long_clip, tiny_model):
    """What a run that nothing stops makes of the long clip."""
    given = ["decompose", long_clip, "--out", "quiet", "--model", tiny_model, *ON]
    code, _, err = run_in(long_clip.parent, *given)
    assert code == 0, err
    return tree(long_clip.parent / "quiet/long.mp4")


@pytest.fixture
def gone_on_with(decompose, tmp_path, long_clip, quiet):
    """Runs a stopped command again: it goes on, to the bytes of a run that nothing stopped."""

    def run():
        assert not (tmp_path / "out/long.mp4").exists()
        code, out, err = decompose(long_clip)
        assert code == 0, err
        assert f"{LONG} frames, " in out
        assert " of them from before, " in out
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["long.mp4"]
        again = tree(tmp_path / "out/long.mp4")
        assert again.keys() == quiet.keys()
        differ = [name for name in quiet if again[name] != quiet[name]]
        assert set(differ) <= {"result.json", "report.html"}  # they tell the seconds it took

    return run


def test_17_the_disk_is_full(decompose, tmp_path):
    make_clip(tmp_path / "small.mp4", 4)
    make_clip(tmp_path / "large.mp4", 120)
    make_clip(tmp_path / "larger.mp4", 600)
    with mounted(tmp_path / "disk", "-t tmpfs -o size=300k tmpfs"):
        assert decompose("small.mp4", out="disk/out")[0] == 0
        before = tree(tmp_path / "disk")
        code, _, err = decompose("large.mp4", out="disk/out")
        assert code == 74
        assert_refused(err)
        assert "disk is full" in err or "No space left on device" in err
        assert tree(tmp_path / "disk") == before
        code, _, err = decompose("larger.mp4", out="disk/out")
        assert code == 74
        assert_refused(err)
        assert "MiB are free" in err
        assert tree(tmp_path / "disk") == before


@pytest.mark.parametrize("number", [1, 2])
def test_17_the_disk_is_full_at_the_nth_file(refused, tmp_path, monkeypatch, number):
    make_clip(tmp_path / "a.mp4", 2)
    monkeypatch.setenv("SLOTCLI_FAULT", f"enospc@write:{number}")
    code, err = refused("decompose", "a.mp4")
    assert code == 74
    assert "disk is full" in err


def test_18_killed_while_it_writes(begun, gone_on_with, long_clip):
    process = begun(long_clip)
    process.kill()
    assert process.wait(PATIENCE) == -signal.SIGKILL
    gone_on_with()


def test_19_ctrl_c_once(begun, gone_on_with, long_clip, tmp_path, record_property):
    process = begun(long_clip)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    seconds = time.monotonic() - started
    print(f"Ctrl-C ended it within {seconds:.2f} s")
    record_property("seconds", f"{seconds:.2f}")
    assert process.returncode == 130
    assert seconds < PATIENCE
    assert out == ""
    assert_refused(err)
    assert "The same command resumes" in err
    # Nothing but what the same command needs.
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".journal"]
    gone_on_with()


def test_19_ctrl_c_twice(begun, gone_on_with, long_clip):
    process = begun(long_clip)
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    seconds = time.monotonic() - started
    print(f"The second Ctrl-C ended it within {seconds:.2f} s")
    # The latter where slotcli had ended, and Python was about to.
    assert process.returncode in (130, -signal.SIGINT)
    assert seconds < PATIENCE
    assert out == ""
    assert "Traceback" not in err
    gone_on_with()


def test_20_a_clip_that_another_run_is_at_and_the_lock_of_a_dead_one(
    begun, decompose, long_clip, tmp_path
):
    make_clip(tmp_path / "b.mp4", 2)
    process = begun(long_clip)
    process.send_signal(signal.SIGSTOP)
    code, out, err = decompose(long_clip, "b.mp4")
    assert code == 0, err
    assert out.startswith("out/b.mp4: 2 frames")
    assert "1 clips were left to other runs that are computing them." in err
    assert not (tmp_path / "out/long.mp4").exists()
    code, _, err = decompose(long_clip)
    assert code == 75
    assert_refused(err)
    process.kill()
    process.wait(PATIENCE)
    assert list((tmp_path / "out").glob(".slotcli-*.lock"))
    code, out, err = decompose(long_clip, "b.mp4")
    assert code == 0, err
    assert "out/b.mp4: done already." in err
    assert f"out/long.mp4: {LONG} frames, " in out
    assert not list((tmp_path / "out").glob(".slotcli*"))


@pytest.mark.parametrize("times", [1, 3])
def test_21_device_memory_runs_out(decompose, tmp_path, monkeypatch, times):
    make_clip(tmp_path / "a.mp4", 20)
    assert decompose("a.mp4", out="quiet")[0] == 0
    faults_ = ",".join(f"oom@encode:{number + 1}" for number in range(times))
    monkeypatch.setenv("SLOTCLI_FAULT", faults_)
    assert decompose("a.mp4")[0] == 0
    found, quiet = (read_slot_file(tmp_path / out / "a.mp4" / SLOTS) for out in ("out", "quiet"))
    assert abs(found.slots - quiet.slots).max() < 1e-5
    masks = [mask_files(tmp_path / out / "a.mp4/masks") for out in ("out", "quiet")]
    np.testing.assert_array_equal(*masks)


def test_21_device_memory_does_not_suffice_for_a_frame(refused, tmp_path, monkeypatch):
    make_clip(tmp_path / "a.mp4", 20)
    # 16 frames, 8, 4, 2 and 1
    faults_ = ",".join(f"oom@encode:{number}" for number in range(1, 6))
    monkeypatch.setenv("SLOTCLI_FAULT", faults_)
    code, err = refused("decompose", "a.mp4")
    assert code == 75
    assert "memory does not suffice for a single frame" in err


def test_22_slots_that_are_no_numbers(refused, tmp_path, monkeypatch):
    make_clip(tmp_path / "a.mp4", 40)
    monkeypatch.setenv("SLOTCLI_FAULT", "nan@encode:2")
    code, err = refused("decompose", "a.mp4")
    assert code == 70
    assert "Frame 16: the slots are not finite" in err


def test_22_clips_of_one_colour(decompose, tmp_path):
    for name, colour in (("black.mp4", (0, 0, 0)), ("red.mp4", (200, 30, 30))):
        odd_clips.of_colour(tmp_path / name, colour)
    code, _, err = decompose("black.mp4", "red.mp4")
    assert code == 0, err
    for name in ("black.mp4", "red.mp4"):
        assert mask_files(tmp_path / "out" / name / "masks").shape == (8, 48, 64)
        assert np.isfinite(read_slot_file(tmp_path / "out" / name / SLOTS).slots).all()
        told = json.loads((tmp_path / "out" / name / "result.json").read_text())
        assert (told["status"], told["warnings"]) == ("ok", [])


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_23_a_checkpoint_that_runs_code(refused, cli, tmp_path):
    make_clip(tmp_path / "a.mp4", 1)
    trap = tmp_path / "sprung"
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"state_dict": Hostile(trap)}, 2))
    pickle.loads((tmp_path / "evil.pth").read_bytes())
    trap.unlink()  # raises where the trap would not have sprung
    shutil.copy(tmp_path / "evil.pth", tmp_path / "evil.safetensors")
    for name in ("evil.pth", "evil.safetensors"):
        code, err = refused("decompose", "a.mp4", "--model", name)
        assert code == 65
        assert name in err
    given = ["evil.pth", "--definition", "slotdiffusion-movi-d", "--out", "new"]
    code, _ = refused("models", "import", *given)
    assert code == 65


def test_24_a_slot_file_that_is_damaged_or_lies(decompose, refused, tmp_path):
    make_clip(tmp_path / "a.mp4", 4)
    assert decompose("a.mp4")[0] == 0
    sound = (tmp_path / "out/a.mp4" / SLOTS).read_bytes()
    length = int.from_bytes(sound[:8], "little")
    header = json.loads(sound[8 : 8 + length])

    def with_header(**changes):
        head = json.dumps(header | {"slots": header["slots"] | changes}).encode()
        return len(head).to_bytes(8, "little") + head + sound[8 + length :]

    flipped = bytearray(sound)
    flipped[-5] ^= 1
    begin, end = header["slots"]["data_offsets"]
    lies = {
        "a flipped bit": bytes(flipped),
        "a header of 1 TB": (1 << 40).to_bytes(8, "little") + sound[8:],
        "more frames than bytes": with_header(shape=[1 << 40, 4, 32]),
        "an overlap": with_header(data_offsets=[begin + 4, end + 4]),
        "an overflow": with_header(shape=[1 << 62, 1 << 62, 4]),
        "trailing bytes": sound + bytes(16),
        "half of it": sound[: len(sound) // 2],
    }
    for number, (lie, content) in enumerate(lies.items()):
        path = tmp_path / f"{number}.slots.safetensors"
        path.write_bytes(content)
        code, err = refused("export", path, "--out", "new/masks")
        assert code == 65, lie
        assert path.name in err
        assert refused("reconstruct", path, "--out", "new/clip")[0] == 65, lie


def test_25_definitions_that_explode_and_names_that_lead_out(decompose, refused, tmp_path):
    for number, bomb in enumerate(
        ("a = " + "[" * 5000, "a = " + "9" * 5000, "[a]\n" * 9, "[" + "a." * 5000 + "a]", "\0\0")
    ):
        (tmp_path / f"{number}.toml").write_text(bomb)
        assert refused("config", "validate", f"{number}.toml")[0] == 78, bomb[:20]
    (tmp_path / "far").mkdir()
    name = "<script>alert(1)<&\"'>.mp4"
    make_clip(tmp_path / "far" / name, 2)
    make_clip(tmp_path / "far/..mp4", 1)
    before = tree(tmp_path)
    code, _, err = decompose(f"far/../far/{name}", tmp_path / "far/..mp4", out="a/out")
    assert code == 0, err
    after = tree(tmp_path)
    assert before.items() <= after.items()
    made = after.keys() - before.keys()
    assert {path for path in made if not path.startswith("a/out/")} == {"a", "a/out"}
    pages = [tmp_path / "a/out/index.html", tmp_path / "a/out" / name / "report.html"]
    for page in pages:
        assert "<script>alert" not in page.read_text()
        assert "&lt;script&gt;alert(1)" in page.read_text()


def test_26_a_folder_that_is_read_only(decompose, refused, tmp_path):
    (tmp_path / "in").mkdir()
    make_clip(tmp_path / "in/a.mp4", 2)
    place = tmp_path / "in"
    with mounted(place, f"--bind {place}", "-o remount,bind,ro"):
        before = tree(place)
        code, err = refused("decompose", "in/a.mp4", out="in/out")
        assert code == 77
        assert "may not be written" in err
        code, _, err = decompose("in/a.mp4")
        assert code == 0, err
        assert tree(place) == before


def test_26_the_output_is_the_input(cli, tiny_model, refused, tmp_path):
    make_clip(tmp_path / "a.mp4", 2)
    for options in ([], ["--overwrite"]):
        code, err = refused("decompose", "a.mp4", *options, out=".")
        assert code == 73
        assert "is no result of slotcli" in err


@pytest.fixture
def piped(monkeypatch):
    """Puts bytes into a pipe, and that in the place of standard input."""
    with ExitStack() as ends:

        def put(content):
            read_end, write_end = os.pipe()

            def write():
                with os.fdopen(write_end, "wb") as file:
                    file.write(content)

            writer = threading.Thread(target=write)
            writer.start()
            ends.callback(writer.join)
            monkeypatch.setattr(sys, "stdin", ends.enter_context(os.fdopen(read_end)))

        yield put


def test_27_a_clip_through_a_pipe(decompose, piped, tmp_path):
    clip = make_clip(tmp_path / "stdin", 20)  # its index is at the end
    assert decompose("stdin", out="plain")[0] == 0
    piped(clip.read_bytes())
    code, out, err = decompose("-")
    assert code == 0, err
    assert out.startswith("out/stdin: 20 frames")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["stdin"]
    plain, other = tree(tmp_path / "plain/stdin"), tree(tmp_path / "out/stdin")
    assert plain.keys() == other.keys()
    assert plain[SLOTS] == other[SLOTS]
    piped(clip.read_bytes())
    assert "out/stdin: done already." in decompose("-")[2]


def test_27_pipes_that_bring_nothing_of_use(refused, piped, tmp_path, monkeypatch):
    piped(b"")
    code, err = refused("decompose", "-")
    assert code == 65
    assert "Standard input is empty" in err
    piped(b"not a video at all\n" * 50)
    code, err = refused("decompose", "-")
    assert code == 65
    assert "standard input is not a video" in err
    code, err = refused("decompose", "-", "--dry-run")
    assert code == 2
    os.mkfifo(tmp_path / "named.mp4")
    for name in ("named.mp4", "/dev/zero"):
        code, err = refused("decompose", name)
        assert code == 66
        assert "slotcli decompose - <" in err
