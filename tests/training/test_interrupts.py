import signal

import pytest

from slotcli.errors import Terminated
from slotcli.training.interrupts import interrupts_deferred


def interrupt(signals: tuple[int, ...], done: list[str]) -> None:
    with interrupts_deferred():
        for number in signals:
            signal.raise_signal(number)
        done.append("the rest")


@pytest.mark.parametrize(
    ("signals", "wanted", "raised"),
    [
        ((signal.SIGINT,), ["the rest"], KeyboardInterrupt),
        ((signal.SIGTERM,), ["the rest"], Terminated),
        ((signal.SIGINT, signal.SIGINT), [], KeyboardInterrupt),
        ((signal.SIGINT, signal.SIGTERM), [], Terminated),
    ],
)
def test_the_first_signal_waits_for_the_end_and_the_second_does_not(
    signals: tuple[int, ...], wanted: list[str], raised: type[BaseException]
) -> None:
    usual = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    done: list[str] = []
    with pytest.raises(raised):
        interrupt(signals, done)
    assert done == wanted
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == usual


def test_without_a_signal_nothing_happens() -> None:
    done: list[str] = []
    interrupt((), done)
    assert done == ["the rest"]
