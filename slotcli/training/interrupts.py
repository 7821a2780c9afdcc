"""Ctrl-C, SIGTERM and SIGUSR1 are handled between two steps, never within one."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from slotcli.errors import Terminated

# Schedulers can be configured to send SIGUSR1 some time before they take a machine away.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopRequests:
    """The number of the first signal received; 0 if there was none."""

    def __init__(self) -> None:
        self.first = 0
        self._patient = True

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """In this context a signal raises immediately; an earlier one raises on entry."""
        if self.first:
            raise stop_exception(self.first)
        self._patient = False
        try:
            yield
        finally:
            self._patient = True

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler. Raises KeyboardInterrupt or Terminated."""
        again = self.first != 0
        self.first = self.first or number
        if again or not self._patient:
            raise stop_exception(number)


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Records a first signal for the caller to check; a second one raises immediately.

    For the main thread only.
    """
    stop = StopRequests()
    usual = {number: signal.signal(number, stop.note) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def stop_exception(number: int) -> BaseException:
    """The exception for a signal: KeyboardInterrupt for Ctrl-C, Terminated for all others."""
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()
