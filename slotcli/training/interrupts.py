"""Ctrl-C, SIGTERM and SIGUSR1 between two steps, never within one."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from slotcli.errors import Terminated

# SIGUSR1 is what schedulers are asked to send some time before they take a machine away.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopRequests:
    """The first signal since, as its number; 0 where there was none."""

    def __init__(self) -> None:
        self.first = 0
        self._patient = True

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this context a signal raises at once, as an earlier one does on entering it."""
        if self.first:
            raise stop_of(self.first)
        self._patient = False
        try:
            yield
        finally:
            self._patient = True

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler. Raises KeyboardInterrupt or Terminated."""
        again = self.first != 0
        self.first = self.first or number
        if again or not self._patient:
            raise stop_of(number)


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Holds a first signal back, for its user to ask for; a second one takes effect at once.

    For the main thread only.
    """
    stop = StopRequests()
    usual = {number: signal.signal(number, stop.note) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def stop_of(number: int) -> BaseException:
    """What a signal raises: KeyboardInterrupt for Ctrl-C, Terminated for all others."""
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()
