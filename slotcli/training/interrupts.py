"""Ctrl-C and SIGTERM between two steps, never within one."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from slotcli.errors import Terminated


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Holds a first signal back until the end of the context; a second one takes effect at once.

    Raises KeyboardInterrupt or Terminated at the end where there was one. For the main thread only.
    """
    held: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if held:
            raise _exception(number)
        held.append(number)

    usual = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
    if held:
        raise _exception(held[0])


def _exception(number: int) -> BaseException:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
