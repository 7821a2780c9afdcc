"""Results that are either whole or absent: made beside their path, and renamed to it."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from slotcli.errors import BusyError, printable
from slotcli.files.writing import output_errors


def hidden_sibling(place: Path, kind: str) -> Path:
    """A hidden path next to `place`, for something that belongs to it.

    The name is short, because that of `place` may be as long as the file system allows.
    """
    digest = hashlib.sha256(os.fsencode(place.name)).hexdigest()[:12]
    return place.parent / f".slotcli-{digest}.{kind}"


def work_path(place: Path) -> Path:
    """`hidden_sibling`, for this process alone: a partial output, to be renamed to `place`."""
    return hidden_sibling(place, f"{os.getpid()}.part")


@contextmanager
def make_parents(path: Path) -> Iterator[None]:
    """Makes the parent folders of `path`; removes those that it made on failure.

    Raises as `output_errors`.
    """
    missing: list[Path] = []
    try:
        with output_errors(path):
            missing = [folder for folder in path.parents if not folder.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:  # innermost first; one that has other content stays
            with suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def work_folder(place: Path, work: Path | None = None) -> Iterator[Path]:
    """An empty folder, removed at the end; the caller moves its content out before.

    It is `work`, by default the `work_path` of `place`. On failure the parents made for it are
    removed too. Raises as `output_errors`.
    """
    work = work or work_path(place)
    with make_parents(work):
        try:
            with output_errors(work):
                shutil.rmtree(work, ignore_errors=True)
                work.mkdir()
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def locked(place: Path, *, wait: bool = False) -> Iterator[None]:
    """Locks `place` against other processes; the lock ends with the process, however that ends.

    Raises BusyError where another process holds it and `wait` is off, and as `output_errors`.
    """
    path = hidden_sibling(place, "lock")
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
        # A process that opened it before finds that the file is unlinked, and makes another.
        with suppress(OSError):
            path.unlink()
        lock.release()


def put_in_place(work: Path, place: Path) -> None:
    """Renames a work folder to its final path, and removes the folder that was there.

    Raises as `output_errors`; the previous folder is then still there.
    """
    with output_errors(place):
        if not os.path.lexists(place):
            work.replace(place)
            return
        old = hidden_sibling(place, "old")
        place.replace(old)
        try:
            work.replace(place)
        except BaseException:
            old.replace(place)
            raise
        shutil.rmtree(old)


def recover(place: Path) -> None:
    """Completes or undoes a `put_in_place` whose process was killed. Raises OutputError."""
    old = hidden_sibling(place, "old")
    with output_errors(place):
        if not os.path.lexists(old):
            return
        if os.path.lexists(place):
            shutil.rmtree(old)
        else:
            old.replace(place)


def journal_path(place: Path) -> Path:
    """The folder of the journal of a result in the making; it outlives the process."""
    return hidden_sibling(place, "journal")


def clear_journal(place: Path) -> None:
    """Removes a journal left by a process that was killed just after its result was in place."""
    journal = journal_path(place)
    with suppress(OSError):  # of an earlier version: a file
        journal.unlink()
    shutil.rmtree(journal, ignore_errors=True)
