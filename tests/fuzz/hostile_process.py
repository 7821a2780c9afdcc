"""A process that reads mutants, so that one which kills or stops it is seen, and is named.

As a program it says when it is ready, then answers lines "kind seed" on its input with a line of
JSON each. A mutant that takes too long ends it with a traceback of where it was.
"""

import faulthandler
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import torch
from hostile_inputs import (
    CHECKPOINTS,
    DEFINITIONS,
    FILES,
    IMAGES,
    RESULTS,
    VIDEOS,
    mutant_of,
    place,
)

SECONDS = 10  # that reading a mutant may take
GROWTH = 64  # MiB by which memory may grow at one mutant
READY = "ready\n"
ADDRESSES = 8 << 30  # bytes that may be asked for in all: whoever asks for more is refused


@dataclass
class Tally:
    """What came of the mutants of a kind: how many were read or refused, and all that failed."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        return (
            f"{self.outcomes.total()} mutants: {len(self.failures)} crashes, hangs, tracebacks or "
            f"partial results ({counts}; slowest {self.slowest:.2f} s)"
        )


class Readers:
    """The process, started again whenever a mutant ended it."""

    def __init__(self, folder: Path, program: Path = Path(__file__)) -> None:
        self._command = [sys.executable, str(program), str(folder)]
        self._process: subprocess.Popen[str] | None = None
        self._said: IO[bytes] | None = None

    def try_out(self, name: str, count: int) -> Tally:
        """Reads the first `count` mutants of a kind."""
        tally = Tally()
        for seed in range(count):
            self._answer(name, seed, tally)
        return tally

    def close(self) -> None:
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait(60)
            self._process.stdout.close()
            self._said.close()
            self._process = None

    def _answer(self, name: str, seed: int, tally: Tally) -> None:
        if self._process is None:
            self._start()
        self._process.stdin.write(f"{name}\t{seed}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait(60)
            self._said.seek(0)
            last = self._said.read()[-8000:].decode(errors="replace")
            tally.outcomes["ended the process"] += 1
            tally.failures.append(f"{name} {seed}: the process ended with {code}: {last}")
            self.close()
            return
        answer = json.loads(line)
        tally.outcomes[answer["outcome"]] += 1
        tally.slowest = max(tally.slowest, answer["seconds"])
        if answer["failure"]:
            tally.failures.append(f"{name} {seed}: {answer['failure']}")

    def _start(self) -> None:
        self._said = TemporaryFile()  # noqa: SIM115  closed with the process
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        # Else each mutant would be blamed for what hinders every process, at its start.
        if self._process.stdout.readline() != READY:
            self._said.seek(0)
            raise RuntimeError(self._said.read()[-3000:].decode(errors="replace"))


def main(folder: Path) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is not an answer
    from hostile_readers import read

    torch.set_num_threads(1)
    faulthandler.enable()
    work = folder / f"mutants-{os.getpid()}"
    work.mkdir()
    # What a kind needs at its first use is no mutant's doing.
    for name in (*VIDEOS, *RESULTS, *CHECKPOINTS, *DEFINITIONS):
        read(name, place(folder, name, 0), place(folder, name, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_addresses() + ADDRESSES, hard))
    answers.write(READY)
    answers.flush()
    for line in sys.stdin:
        name, seed = line.split("\t")
        path, sound = _lay_out(folder, work, name, int(seed))
        before, start, failure = _peak(forget=True), time.monotonic(), None
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                outcome = read(name, path, sound)
            except Exception:
                outcome, failure = "failed", traceback.format_exc()[-3000:]
        faulthandler.cancel_dump_traceback_later()
        if _peak() - before > GROWTH:
            failure = f"memory grew by {_peak() - before} MiB"
        seconds = time.monotonic() - start
        answers.write(json.dumps({"outcome": outcome, "failure": failure, "seconds": seconds}))
        answers.write("\n")
        answers.flush()
    shutil.rmtree(work)


def _lay_out(folder: Path, work: Path, name: str, seed: int) -> tuple[Path, Path]:
    """Writes a mutant; of a folder of images every third one or so is one."""
    if name != "images":
        sound = place(folder, name, 0)
        path = work / f"mutant{sound.suffix}"
        path.write_bytes(mutant_of(folder, name, seed))
        return path, sound
    images = work / "images"
    images.mkdir(exist_ok=True)
    for number, kind in enumerate(IMAGES):
        damaged = seed % len(IMAGES) == number or (seed + number) % 3 == 0
        sound = place(folder, kind, 0)
        content = mutant_of(folder, kind, seed) if damaged else sound.read_bytes()
        (images / f"{number}{FILES[kind].suffix}").write_bytes(content)
    return images, images


def _peak(*, forget: bool = False) -> int:
    """The most memory that this process had, in MiB, since it was last told to forget."""
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def _addresses() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
