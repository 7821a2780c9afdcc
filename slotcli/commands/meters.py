"""Progress display of a command: one updated line on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rich.console import Console

from slotcli.commands.progress_line import ProgressLine
from slotcli.errors import printable

_STEP = 0.05  # fraction of a phase between two plain lines
_SECONDS = 1.0  # between two plain lines, at least


@runtime_checkable
class Meter(Protocol):
    """Shows one phase at a time; methods may be called at any rate, from any thread."""

    def phase(self, text: str, unit: str = "") -> None:
        """Switches to a phase, new or not; its count is of `unit`, e.g. frames."""
        ...

    def update(self, done: int, total: int | None, facts: str = "") -> None:
        """Sets the phase's count; `total` is None where it is unknown."""
        ...

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Keeps the meter off the screen within this context."""
        ...

    def close(self) -> None:
        """Ends the display, and removes it from the screen."""
        ...


class SilentMeter:
    """A meter that shows nothing, for --quiet."""

    def phase(self, text: str, unit: str = "") -> None: ...

    def update(self, done: int, total: int | None, facts: str = "") -> None: ...

    @contextmanager
    def hidden(self) -> Iterator[None]:
        yield

    def close(self) -> None: ...


class LineMeter:
    """One line at the bottom of a terminal, redrawn by a thread of its own."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._line = ProgressLine(console)
        self._line.start()

    def phase(self, text: str, unit: str = "") -> None:
        self._line.turn_to(printable(text), unit)

    def update(self, done: int, total: int | None, facts: str = "") -> None:
        self._line.count(done, total, facts)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        self._line.stop()
        try:
            yield
        finally:
            self._line.start()

    def close(self) -> None:
        self._line.stop()


@dataclass
class _Count:
    unit: str
    began: float
    told_at: float
    first: int | None = None
    told: float = 0.0


class PlainMeter:
    """Prints a line at intervals, for logs; only for phases whose total is known."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._counts: dict[str, _Count] = {}
        self._current = ""

    def phase(self, text: str, unit: str = "") -> None:
        self._current, now = text, time.monotonic()
        self._counts.setdefault(text, _Count(unit, now, now))

    def update(self, done: int, total: int | None, facts: str = "") -> None:
        count, now = self._counts[self._current], time.monotonic()
        if count.first is None:
            count.first = done
        if not total or done > total:
            return
        much = done / total >= count.told + _STEP and now >= count.told_at + _SECONDS
        if not much and (done < total or count.told == 1):
            return
        count.told, count.told_at = done / total, now
        rate = ""
        if count.unit and (gone := now - count.began) > 0 and done > count.first:
            rate = f", {(done - count.first) / gone:.3g} {count.unit}/s"
        self._say(f"{self._current}: {done}/{total}{rate}{', ' if facts else ''}{facts}")

    @contextmanager
    def hidden(self) -> Iterator[None]:
        yield

    def close(self) -> None: ...
