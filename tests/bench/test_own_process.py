import math
import multiprocessing
import os
import signal
import time

import pytest

from slotcli.bench.own_process import in_own_process
from slotcli.errors import Terminated

pytestmark = pytest.mark.slow


def test_the_answer_comes_from_another_process() -> None:
    assert in_own_process(math.sqrt, 4.0) == (2.0, "")
    assert in_own_process(os.getpgid, 0) == (os.getpgid(0), "")
    assert in_own_process(eval, "__import__('os').getpid()")[0] != os.getpid()


def test_memory_that_runs_out_is_told_from_a_bug(capfd: pytest.CaptureFixture[str]) -> None:
    found, why = in_own_process(bytes, 1 << 62)
    assert found is None
    assert why.startswith("memory ran out: ")
    with pytest.raises(RuntimeError, match="ended with 1"):
        in_own_process(math.sqrt, -1.0)
    assert "math domain error" in capfd.readouterr().err


def test_a_killed_process_counts_as_memory_that_ran_out() -> None:
    found, why = in_own_process(signal.raise_signal, signal.SIGKILL)
    assert found is None
    assert "was killed" in why


def test_nothing_of_it_outlives_an_interrupt_of_ours() -> None:
    def interrupt(*_: object) -> None:
        raise Terminated

    usual = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1)
        with pytest.raises(Terminated):
            in_own_process(time.sleep, 1000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    assert multiprocessing.active_children() == []
