"""Output files that are either whole or absent, with failures to write as slotcli's errors."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from slotcli.errors import AccessError, CannotCreateError, OutputError, printable
from slotcli.faults import may_fail
from slotcli.limits import exhaustion_error

FULL_DISK = {errno.ENOSPC, errno.EDQUOT}
NOT_CREATABLE = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG}


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turns any OSError raised while writing `path` into a SlotcliError.

    Raises: OutputError (disk full, I/O error), AccessError (permission, read-only disk),
    CannotCreateError (the path itself is invalid).
    """
    try:
        yield
    except OSError as error:
        if (exhausted := exhaustion_error(error)) is not None:
            raise exhausted from error
        shown = printable(path)
        if error.errno in FULL_DISK:
            raise OutputError(
                f"The disk is full: {shown} could not be written.",
                "Free some space, or choose another output folder, and run again.",
            ) from error
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            raise AccessError(
                f"{shown} may not be written.", "Choose an output folder you may write to."
            ) from error
        if error.errno in NOT_CREATABLE:
            raise CannotCreateError(
                f"{shown} cannot be created: {error.strerror}.", "Choose another output folder."
            ) from error
        raise OutputError(
            f"{shown} could not be written: {error.strerror or error}.",
            "Check the disk.",
        ) from error


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that is renamed to `path` only once it is complete and on the disk.

    Raises: as `output_errors`; a partial file is removed, whatever happens inside.
    """
    part = path.with_name(path.name + ".part")
    with output_errors(path):
        try:
            with part.open("wb") as file:
                may_fail("write")
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
