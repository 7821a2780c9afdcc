"""Results that are either whole or absent: made beside their place, and renamed into it."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from slotcli.errors import BusyError, printable
from slotcli.files.writing import output_errors


def beside(place: Path, kind: str) -> Path:
    """Where something that belongs to `place` stands while it is made: hidden, next to it.

    The name is short, for that of `place` may be as long as the file system allows.
    """
    digest = hashlib.sha256(os.fsencode(place.name)).hexdigest()[:12]
    return place.parent / f".slotcli-{digest}.{kind}"


def work_path(place: Path) -> Path:
    """`beside`, for this process alone: what will be renamed to `place`."""
    return beside(place, f"{os.getpid()}.part")


@contextmanager
def made_parents(path: Path) -> Iterator[None]:
    """The folders that `path` stands in; on failure those that had to be made are gone again.

    Raises as `output_errors`.
    """
    missing: list[Path] = []
    try:
        with output_errors(path):
            missing = [folder for folder in path.parents if not folder.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:  # innermost first; one that others put something in stays
            with suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def work_folder(place: Path, work: Path | None = None) -> Iterator[Path]:
    """An empty folder, gone at the end; whoever wants its content moves that out.

    It is `work`, by default the `work_path` of `place`. On failure the parents that had to be made
    for it are gone too. Raises as `output_errors`.
    """
    work = work or work_path(place)
    with made_parents(work):
        try:
            with output_errors(work):
                shutil.rmtree(work, ignore_errors=True)
                work.mkdir()
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def locked(place: Path, *, wait: bool = False) -> Iterator[None]:
    """Nobody else works on `place` meanwhile; the lock goes with the process, however it ends.

    Raises BusyError where another process holds it and it is not to `wait`, and as `output_errors`.
    """
    path = beside(place, "lock")
    lock = FileLock(path)
    with output_errors(path):
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout as error:
            raise BusyError(
                f"{printable(place)}: another run is at work on it.",
                "Wait until it is done, or give another --out.",
            ) from error
    try:
        yield
    finally:
        # Whoever opened it before finds that it has no name any more, and makes a new one.
        with suppress(OSError):
            path.unlink()
        lock.release()


def put_in_place(work: Path, place: Path) -> None:
    """Renames a work folder to its place, and removes the folder that stood there.

    Raises as `output_errors`; then what stood there still stands.
    """
    with output_errors(place):
        if not os.path.lexists(place):
            work.replace(place)
            return
        old = beside(place, "old")
        place.replace(old)
        try:
            work.replace(place)
        except BaseException:
            old.replace(place)
            raise
        shutil.rmtree(old)


def recover(place: Path) -> None:
    """Ends what a process that was killed inside `put_in_place` had begun. Raises OutputError."""
    old = beside(place, "old")
    with output_errors(place):
        if not os.path.lexists(old):
            return
        if os.path.lexists(place):
            shutil.rmtree(old)
        else:
            old.replace(place)


def journal_path(place: Path) -> Path:
    """Where the model's work on a result to be is kept; it outlives the process."""
    return beside(place, "journal")


def clear_journal(place: Path) -> None:
    """Removes the journal that a process killed just after its result was in place left behind."""
    with suppress(OSError):
        journal_path(place).unlink()
