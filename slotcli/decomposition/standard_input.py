"""A clip from standard input, spooled to a file during the run."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slotcli.errors import DataError, SlotcliError, UsageError, printable
from slotcli.files.places import hidden_sibling, locked, make_parents, work_folder
from slotcli.files.writing import output_errors

SIGN = "-"
_NAME = "stdin"


@contextmanager
def spool_standard_input(inputs: list[str], out: Path) -> Iterator[list[str]]:
    """`inputs`, with "-" replaced by the path of a file that holds all of standard input.

    A clip is read more than once, and its index may be at its end, which a pipe does not support.
    The file is hidden in `out` and removed at the end. Raises UsageError where nothing is piped in,
    DataError where the pipe is empty, BusyError where another run does the same, and as
    `output_errors`.
    """
    if SIGN not in inputs:
        yield inputs
        return
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            f"{SIGN}: nothing is piped in.",
            f"Use: slotcli decompose {SIGN} < FILE, or name a file.",
        )
    place = out / _NAME
    spool = hidden_sibling(place, "spool")
    with make_parents(place), locked(spool), work_folder(place, spool) as folder:
        path = folder / _NAME
        with output_errors(path), path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        if not path.stat().st_size:
            raise DataError(
                "Standard input is empty.",
                f"Check the command before the pipe, or use: slotcli decompose {SIGN} < FILE",
            )
        try:
            yield [str(path) if text == SIGN else text for text in inputs]
        except SlotcliError as error:
            name_standard_input(error, path)
            raise


def name_standard_input(error: SlotcliError, source: Path) -> None:
    """Replaces the hidden file by "standard input" in the text of an error about `source`."""
    if source.name == _NAME and source.parent.name == hidden_sibling(Path(_NAME), "spool").name:
        error.what = error.what.replace(printable(source), "standard input")
