"""Two hundred mutants of every kind of input: each is read, or refused in one sentence.

SLOTCLI_FUZZ=50000 makes it that many of each. Of a kind in several formats each has its share.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_inputs import make_all
from hostile_process import Readers
from hostile_readers import READERS

pytestmark = pytest.mark.slow

COUNT = int(os.environ.get("SLOTCLI_FUZZ", "200"))
FORMATS = [name for name in READERS if name.startswith("published")]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    make_all(folder)
    return folder


@pytest.fixture(scope="module")
def readers(inputs: Path) -> Iterator[Readers]:
    readers = Readers(inputs)
    yield readers
    readers.close()


@pytest.mark.parametrize("name", READERS)
def test_every_mutant_is_read_or_refused(name: str, readers: Readers, record_property) -> None:
    count = COUNT // len(FORMATS) if name in FORMATS else COUNT
    tally = readers.try_out(name, count)
    print(f"{name}: {tally}")
    record_property("mutants", str(tally))
    assert tally.outcomes.total() == count
    assert not tally.failures, "\n".join(tally.failures[:10])
    # Some get past the door, or nothing behind it would have been tried; some are refused, unless
    # there is always another picture in the folder.
    assert tally.outcomes["read"] > 0
    assert tally.outcomes["read"] < count or name == "images"


FAULTY = """
import os, signal, sys, time
from pathlib import Path
import hostile_process, hostile_readers

def crash():
    os.kill(os.getpid(), signal.SIGSEGV)

def fill():
    bytearray(100 << 20)

def fail():
    raise ZeroDivisionError

def hang():
    time.sleep(60)

def read(name, path, sound):
    text = path.read_bytes()
    for fault in (crash, fill, fail, hang):
        if text == fault.__name__.encode():
            fault()
    return "read"

hostile_process.SECONDS = 1
hostile_process.mutant_of = lambda folder, name, seed: (
    [b"sound", b"crash", b"fill", b"fail", b"hang", b"sound"][seed]
)
hostile_readers.read = read
hostile_process.main(Path(sys.argv[1]))
"""


def test_what_goes_wrong_with_a_mutant_is_seen_and_named(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    program = tmp_path / "faulty.py"
    program.write_text(FAULTY)
    readers = Readers(inputs, program)
    tally = readers.try_out("mp4", 6)
    readers.close()
    assert tally.outcomes == {"read": 3, "failed": 1, "ended the process": 2}, tally.failures
    crash, fill, fail, hang = tally.failures
    assert crash.startswith("mp4 1: the process ended with -11")
    assert "Segmentation" in crash
    assert fill.startswith("mp4 2: memory grew by ")
    assert fail.startswith("mp4 3: Traceback")
    assert "ZeroDivisionError" in fail
    assert hang.startswith("mp4 4: the process ended with 1: Timeout")
    assert "in hang" in hang
