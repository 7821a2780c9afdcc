import signal

import pytest

from slotcli.errors import Terminated
from slotcli.training.interrupts import StopRequests, stop_exception, stop_requests

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@pytest.fixture
def usual():
    return [signal.getsignal(number) for number in SIGNALS]


def test_a_first_signal_waits_to_be_asked_for(usual) -> None:
    for number in SIGNALS:
        with stop_requests() as stop:
            assert stop.first == 0
            signal.raise_signal(number)
            assert stop.first == number
    assert [signal.getsignal(number) for number in SIGNALS] == usual


@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_one_does_not(usual, second: signal.Signals) -> None:
    def twice(stop: StopRequests) -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(second)

    raised = KeyboardInterrupt if second == signal.SIGINT else Terminated
    with pytest.raises(raised), stop_requests() as stop:
        twice(stop)
    assert stop.first == signal.SIGTERM
    assert [signal.getsignal(number) for number in SIGNALS] == usual


def test_at_once_where_that_is_asked_for() -> None:
    with stop_requests() as stop:
        with pytest.raises(Terminated), stop.at_once():
            signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(Terminated), stop.at_once():
            pytest.fail("an earlier one was forgotten")


def test_only_ctrl_c_is_a_keyboard_interrupt() -> None:
    assert [type(stop_exception(n)) for n in SIGNALS] == [KeyboardInterrupt, Terminated, Terminated]
