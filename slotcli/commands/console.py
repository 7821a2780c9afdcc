"""The only module that prints: results to stdout, everything for people to stderr."""

import json as json_module
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from slotcli.commands.meters import LineMeter, Meter, PlainMeter, SilentMeter
from slotcli.errors import printable

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

_RESUMES = "The same command resumes."
_HALF = "\N{UPPER HALF BLOCK}"
_SHOW_CURSOR = b"\x1b[?25h"


@dataclass
class _Settings:
    verbose: bool = False
    quiet: bool = False
    json: bool = False


_settings = _Settings()
_WIDEST = 1_000_000  # columns; file names alone may have 4096 characters
_meter: Meter | None = None
_counting = False  # whether results are printed while the meter is shown, and do not end it
_kept: str | None = None  # the line of `interrupted` about finished work


def restart() -> None:
    """Resets the state of an earlier command of the same process."""
    global _settings, _kept
    end_progress()
    _settings, _kept = _Settings(), None
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal that cannot show a name gets it escaped
        sys.stdout.reconfigure(errors="backslashreplace")


def configure(
    *, verbose: bool | None = None, quiet: bool | None = None, json: bool | None = None
) -> None:
    """Sets verbosity and format of the output; None keeps a setting."""
    _settings.verbose = _settings.verbose if verbose is None else verbose
    _settings.quiet = _settings.quiet if quiet is None else quiet
    _settings.json = _settings.json if json is None else json


def result(text: str) -> None:
    """Prints a line of the command's results."""
    with _on_stdout() as stdout:
        stdout.print(Text(printable(text)), soft_wrap=True)


def page(text: str) -> None:
    """Prints text of several lines, unchanged."""
    with _on_stdout() as stdout:
        stdout.print(Text(text), soft_wrap=True)


def record(values: dict[str, Any]) -> None:
    """Prints one JSON object on a line of stdout, if --json is given."""
    if _settings.json:
        with _on_stdout():
            print(json_module.dumps(values, sort_keys=True), flush=True)


def wants_json() -> bool:
    return _settings.json


def note(text: str) -> None:
    """Prints a remark for people."""
    if not _settings.quiet:
        _stderr().print(Text(printable(text)))


def warn(text: str) -> None:
    _stderr().print(Text(f"warning: {printable(text)}", style="yellow"))


def error(what: str, advice: str) -> None:
    """Prints the two lines of a failure: its cause, and the remedy."""
    _stderr().print(Text(f"error: {printable(what)}", style="red"))
    _stderr().print(Text(f"  {printable(advice)}"))


def keeps_finished(*, anew_with: str = "") -> None:
    """From now on an interruption reports that finished work is kept.

    The same command resumes, unless it has the option `anew_with`.
    """
    global _kept
    advice = f"With {anew_with} the same command begins again." if anew_with else _RESUMES
    _kept = f"What was finished is kept. {advice}"


def interrupted() -> None:
    """Prints the two lines of a run that was stopped by a signal."""
    error("Interrupted.", _kept or "Nothing was written.")


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
    """Prints the traceback behind an error, if --verbose is given."""
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
    """Prints a table on stdout: as wide as needed, except on a terminal."""
    grid = Table(box=None, header_style="bold")
    for number, column in enumerate(columns):
        grid.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    if title:
        result(title)
    with _on_stdout() as stdout:
        if not sys.stdout.isatty():
            widest = stdout.options.update(width=_WIDEST)
            stdout.width = stdout.measure(grid, options=widest).maximum
        stdout.print(grid)


def shows_images() -> bool:
    """Whether `image` prints: on a terminal with at least 256 colours, unless NO_COLOR is set."""
    if _settings.json or not sys.stdout.isatty():
        return False
    try:
        _HALF.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return False
    console = Console()
    return not console.no_color and console.color_system in ("truecolor", "256")


def image(frame: "UInt8[np.ndarray, 'h w 3']") -> None:
    """Prints a small RGB image, two pixels per character: in true colour, or the nearest of 256."""
    text = Text(no_wrap=True)
    for top in range(0, len(frame) - len(frame) % 2, 2):
        for upper, lower in zip(frame[top].tolist(), frame[top + 1].tolist(), strict=True):
            text.append(_HALF, Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower)))
        text.append("\n")
    with _on_stdout() as stdout:
        stdout.print(text, end="", overflow="crop")


def phase(text: str, unit: str = "") -> Meter:
    """Shows the current phase, until the next phase, the first result, or the end."""
    global _meter
    if _meter is None:
        _meter = _new_meter()
    _meter.phase(text, unit)
    return _meter


@contextmanager
def progress(text: str, unit: str = "") -> Iterator[Meter]:
    """A phase with a count; results printed within it do not overwrite its line."""
    global _counting
    meter = phase(text, unit)
    _counting = True
    try:
        yield meter
    finally:
        end_progress()


def end_progress() -> None:
    """Removes the line of the phase from the screen."""
    global _meter, _counting
    ended, _meter, _counting = _meter, None, False
    if ended is not None:
        ended.close()


def leave_terminal() -> None:
    """Restores a terminal's cursor where the process ends without cleaning up."""
    if isinstance(_meter, LineMeter):
        with suppress(OSError):
            os.write(sys.stderr.fileno(), _SHOW_CURSOR)


def _new_meter() -> Meter:
    if _settings.quiet:
        return SilentMeter()
    stderr = Console(stderr=True, highlight=False, soft_wrap=True)
    # FORCE_COLOR makes rich treat a pipe as a terminal: colours are wanted there, a cursor is not.
    if not (stderr.is_interactive and sys.stderr.isatty()):
        return PlainMeter(note)
    return LineMeter(stderr)


@contextmanager
def _on_stdout() -> Iterator[Console]:
    """The console for results: without a meter in between, and without colours if redirected."""
    terminal = sys.stdout.isatty()
    console = Console(
        highlight=False, force_terminal=terminal, color_system="auto" if terminal else None
    )
    if _meter is None or not _counting:
        end_progress()
        yield console
    elif terminal:
        with _meter.hidden():
            yield console
    else:
        yield console


def _stderr() -> Console:
    """The meter's console if one is shown, which prints above it."""
    if isinstance(_meter, LineMeter):
        return _meter.console
    return Console(stderr=True, highlight=False, soft_wrap=True)
