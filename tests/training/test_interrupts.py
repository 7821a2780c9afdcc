import signal

import pytest

from slotcli.training.interrupts import interrupts_deferred


def interrupt(times: int, done: list[str]) -> None:
    with interrupts_deferred():
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        done.append("the rest")


@pytest.mark.parametrize(("times", "wanted"), [(1, ["the rest"]), (2, [])])
def test_the_first_interrupt_waits_for_the_end_and_the_second_does_not(
    times: int, wanted: list[str]
) -> None:
    usual = signal.getsignal(signal.SIGINT)
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupt(times, done)
    assert done == wanted
    assert signal.getsignal(signal.SIGINT) is usual


def test_without_an_interrupt_nothing_happens() -> None:
    done: list[str] = []
    interrupt(0, done)
    assert done == ["the rest"]
