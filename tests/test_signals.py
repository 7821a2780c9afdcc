"""What ends the program in the middle of its work: Ctrl-C, SIGTERM, a reader that has gone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ENDLESS = "data synth clips --tier A --size 32 --frames 1 --clips 100000 --device cpu --threads 1"


@pytest.fixture
def ctrl_c_is_heard() -> Iterator[None]:
    """A shell that runs tests in the background makes them, and what they start, deaf to it."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.mark.usefixtures("ctrl_c_is_heard")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_program_in_order(tmp_path: Path, number: int, code: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "slotcli", *ENDLESS.split()],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        videos = tmp_path / "clips" / "videos"
        while not list(videos.glob("*.mp4")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == ""
    first, second = err.splitlines()
    assert first == "error: Interrupted."
    assert second.startswith("  What was finished is kept")
    assert (tmp_path / "clips" / "index.json").is_file()


@pytest.mark.parametrize("command", [["models", "list"], ["--json", "models", "list"], ["--help"]])
def test_a_pipe_that_nobody_reads_ends_it_quietly(tmp_path: Path, command: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "slotcli", *command],
            cwd=tmp_path,
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")
