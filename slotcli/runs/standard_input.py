"""A clip that comes through standard input, as a file for as long as it is worked on."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slotcli.errors import UsageError
from slotcli.runs.work_folder import beside, locked, made_parents, work_folder
from slotcli.tracks.writing import output_errors

SIGN = "-"
_NAME = "stdin"


@contextmanager
def spooled(inputs: list[str], out: Path) -> Iterator[list[str]]:
    """`inputs`, with the path of a file that holds all of standard input in the place of "-".

    A clip is read more than once, and its index may be at its end, which a pipe cannot give. The
    file stands hidden in `out` and is gone at the end. Raises UsageError where nothing is piped in,
    BusyError where another run does the same, and as `output_errors`.
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
    spool = beside(place, "spool")
    with made_parents(place), locked(spool), work_folder(place, spool) as folder:
        path = folder / _NAME
        with output_errors(path), path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield [str(path) if text == SIGN else text for text in inputs]
