"""Turns file system errors of an input into slotcli's errors, which name the file."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slotcli.errors import AccessError, DataError, NoInputError, printable


@contextmanager
def access_errors(path: Path) -> Iterator[None]:
    """Turns OSErrors about `path` into NoInputError, AccessError or DataError."""
    shown = printable(path)
    try:
        yield
    except PermissionError as error:
        raise AccessError(
            f"{shown} may not be read.", "Ask its owner for permission to read it."
        ) from error
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NoInputError(f"{shown} is not a file.", "Check the path.") from error
    except OSError as error:
        raise DataError(
            f"{shown} could not be read: {error.strerror or error}.",
            "Check the disk or the network share that it is on.",
        ) from error


def require_storage(path: Path) -> None:
    """Raises NoInputError for a pipe or a device, which may never end; OSError as `stat` does."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise NoInputError(
            f"{printable(path)} is a pipe or a device, not a file.",
            f"Use: slotcli decompose - < {printable(path)}, or save it to a file first.",
        )
