"""Results that are either whole or absent: made beside their place, and renamed into it."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from slotcli.tracks.writing import output_errors


def work_path(place: Path) -> Path:
    """Where to make what will be renamed to `place`: hidden, beside it, this process's alone.

    The name is short, for that of `place` may be as long as the file system allows.
    """
    digest = hashlib.sha256(os.fsencode(place.name)).hexdigest()[:12]
    return place.parent / f".slotcli-{digest}-{os.getpid()}.part"


@contextmanager
def work_folder(place: Path) -> Iterator[Path]:
    """An empty folder at `work_path`, gone at the end; whoever wants its content moves that out.

    On failure the parents that had to be made for it are gone too. Raises as `output_errors`.
    """
    work = work_path(place)
    missing: list[Path] = []
    try:
        with output_errors(work):
            missing = [folder for folder in work.parents if not folder.exists()]
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
        yield work
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        for folder in missing:  # innermost first; one that others put something in stays
            with suppress(OSError):
                folder.rmdir()
        raise
    shutil.rmtree(work, ignore_errors=True)


def put_in_place(work: Path, place: Path) -> None:
    """Renames a work folder to its place, and removes the folder that stood there.

    Raises as `output_errors`; then what stood there still stands.
    """
    with output_errors(place):
        if not os.path.lexists(place):
            work.replace(place)
            return
        old = work.with_suffix(".old")
        place.replace(old)
        try:
            work.replace(place)
        except BaseException:
            old.replace(place)
            raise
        shutil.rmtree(old)
