"""The only module that prints: results to stdout, everything for people to stderr."""

import json as json_module
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from slotcli.errors import printable


@dataclass
class _Settings:
    verbose: bool = False
    quiet: bool = False
    json: bool = False


_settings = _Settings()


def configure(*, verbose: bool, quiet: bool, json: bool) -> None:
    _settings.verbose, _settings.quiet, _settings.json = verbose, quiet, json
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal that cannot show a name gets it escaped
        sys.stdout.reconfigure(errors="backslashreplace")


def result(text: str) -> None:
    """A line of output proper."""
    Console(highlight=False, soft_wrap=True).print(Text(printable(text)))


def record(values: dict[str, Any]) -> None:
    """One JSON object on a line of stdout, where --json asks for it."""
    if _settings.json:
        print(json_module.dumps(values, sort_keys=True), flush=True)


def wants_json() -> bool:
    return _settings.json


def note(text: str) -> None:
    """Something a person may like to know."""
    if not _settings.quiet:
        _stderr().print(Text(printable(text)))


def warn(text: str) -> None:
    _stderr().print(Text(f"warning: {printable(text)}", style="yellow"))


def error(what: str, advice: str) -> None:
    """The two lines of a failure: what happened, and what to do."""
    _stderr().print(Text(f"error: {printable(what)}", style="red"))
    _stderr().print(Text(f"  {printable(advice)}"))


def bug(exception: Exception) -> None:
    if _settings.verbose:
        _stderr().print(Text("".join(traceback.format_exception(exception))))
    error(
        f"a bug in slotcli: {type(exception).__name__}: {exception}",
        "Please report it with the output of the same command after: slotcli --verbose",
    )


def wants_details() -> bool:
    return _settings.verbose


def cause(error: BaseException) -> None:
    """The traceback of what an error was made of, where --verbose asks for it."""
    if _settings.verbose and error.__cause__ is not None:
        _stderr().print(Text("".join(traceback.format_exception(error.__cause__))))


def dotted(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Nested tables as rows, each with its keys joined by dots, as --set takes them."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{above}{key}.")
        else:
            yield above + key, value


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout."""
    grid = Table(title=title, title_justify="left", box=None, header_style="bold")
    for number, column in enumerate(columns):
        grid.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    Console(highlight=False).print(grid)


@contextmanager
def progress(description: str) -> Iterator["Meter"]:
    """A progress bar on a terminal, plain lines now and then where there is none."""
    stderr = _stderr()
    if _settings.quiet or not stderr.is_terminal:
        yield Meter(None, description)
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}"),
        console=stderr,
    )
    with bar:
        yield Meter(bar, description)


class Meter:
    """What a progress context hands out; `update` may be called as often as one likes."""

    def __init__(self, bar: Progress | None, description: str) -> None:
        self._bar = bar
        self._description = printable(description)
        self._task = None if bar is None else bar.add_task(self._description, total=None, facts="")
        self._told = 0.0

    def update(self, done: int, total: int | None, facts: str = "") -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total or done, facts=facts)
        elif total and not _settings.quiet and (done / total >= self._told + 0.05 or done == total):
            self._told = done / total
            note(f"{self._description}: {done}/{total} {facts}")


def _stderr() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)
