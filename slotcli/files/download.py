"""Downloads a file over HTTP: resumed where it can be, checked, and whole or absent."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, IncompleteRead
from io import RawIOBase
from pathlib import Path
from typing import Any

from slotcli.errors import DataError, OutputError, UnavailableError, printable
from slotcli.faults import may_fail
from slotcli.files.http import Answer, ask
from slotcli.files.writing import FULL_DISK, output_errors, whole_file

_CHUNK = 1 << 18  # bytes per read
_PAGE = re.compile(rb"\s*<(!doctype html|html|head|\?xml)", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_MIB = 2**20


@dataclass(frozen=True)
class Arrived:
    """A file that was downloaded: its size and hash, and the bytes that this call received."""

    size: int
    sha256: str
    received: int
    stated_sha256: str | None
    """The hash that the server stated, which the file has; None where it stated none."""


@dataclass
class _Part:
    """A file in the making, and what the server said of it: that decides whether it resumes."""

    path: Path
    address: str

    @property
    def _facts(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def facts(self) -> dict[str, Any]:
        """The facts noted for this address; none if the part belongs to another."""
        try:
            noted = json.loads(self._facts.read_bytes())
        except (OSError, ValueError):
            return {}
        same = isinstance(noted, dict) and noted.get("address") == self.address
        return noted if same else {}

    def note(self, answer: Answer) -> None:
        facts = {
            "address": self.address,
            "validator": answer.validator,
            "size": answer.total,
            "sha256": answer.stated_sha256,
        }
        with whole_file(self._facts) as file:
            file.write(json.dumps(facts).encode())

    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._facts.unlink(missing_ok=True)

    def put_in_place(self, path: Path) -> None:
        with output_errors(path):
            self.path.replace(path)
            self._facts.unlink(missing_ok=True)


def download(
    address: str,
    path: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    progress: Callable[[int, int | None], None],
    notice: Callable[[str], None],
) -> Arrived:
    """Downloads `address` to `path`, with the known size and hash if they are given.

    What arrives is kept beside it (.part) when the connection or the disk fails, and the next call
    resumes; `notice` is called where it has to start over, `progress` with bytes and their total.
    Raises UnavailableError (69) without network, server or file; DataError (65) for a web page,
    or a file of another size or hash, which is removed; OutputError (74) for a full disk.
    """
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(path.with_name(path.name + ".part"), address)
    noted, had = part.facts(), part.size()
    if had and not noted:
        notice("What arrived earlier came from elsewhere: starting over.")
        had = 0
    received, total, stated = 0, noted.get("size"), noted.get("sha256")
    if not had or had != total:  # or else only the checks are left
        validator = noted.get("validator")
        if had and validator is None and sha256 is None:
            notice("The server gave no mark to resume by: starting over.")
            had = 0
        answer, had = _asked(part, had, validator, notice)
        with answer:
            received = _received(answer, part, had, size, progress)
            total, stated = answer.total, answer.stated_sha256
    _require_size(part, size if total is None else total)
    digest = _digest(part.path)
    for known, said in ((sha256, "not the known"), (stated, "while the server states")):
        if known is not None and digest != known:
            part.remove()
            raise DataError(
                f"{address}: its sha256 is {digest}, {said} {known}.",
                "It was removed. Fetch it again; if that repeats, another file is published there.",
            )
    arrived = Arrived(part.size(), digest, received, stated)
    part.put_in_place(path)
    return arrived


def _asked(
    part: _Part, had: int, validator: str | None, notice: Callable[[str], None]
) -> tuple[Answer, int]:
    """The server's answer, and the number of bytes before those that it will send."""
    answer = ask(part.address, had, validator)
    if answer is not None and answer.first == had:
        return answer, had
    same = answer is not None and answer.validator == validator
    notice(
        "The server does not resume: starting over."
        if same
        else "The published file has changed: starting over."
    )
    if answer is None or answer.first:
        if answer is not None:
            answer.close()
        answer = ask(part.address)
        assert answer is not None, "None is for a part alone"
    return answer, 0


def _received(
    answer: Answer,
    part: _Part,
    had: int,
    size: int | None,
    progress: Callable[[int, int | None], None],
) -> int:
    """Appends what the server sends to the part; returns the number of bytes."""
    total = answer.total
    chunk = _next(answer, part, had)
    if answer.is_page or (not had and _PAGE.match(chunk)):
        title = _TITLE.search(chunk)
        text = " ".join(title[1].decode(errors="replace").split()) if title else ""
        raise DataError(
            f"{part.address}: sent a web page{f' ({printable(text[:80])})' * bool(text)}, no file.",
            "The host, or the network's login, wants a person: open it in a browser, and give the "
            "saved file with --from FILE.",
        )
    if total is not None and size is not None and total != size:
        part.remove()
        raise DataError(
            f"{part.address}: has {total:,} bytes, not the known {size:,}.",
            "Another file is published there now. Nothing was fetched.",
        )
    _require_room(part, had, total)
    done = had
    with output_errors(part.path):
        # Unbuffered: after a failed write, closing would write again.
        file = part.path.open("r+b" if had else "wb", buffering=0)
    with file:
        # Noted once earlier bytes are gone: they must never pass for those of this answer.
        part.note(answer)
        file.seek(had)
        while chunk:
            _write(file, chunk, part, None if total is None else total - done)
            done += len(chunk)
            progress(done, total)
            chunk = _next(answer, part, done)
        with output_errors(part.path):
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _broken_off(part, done, total)
    return done - had


def _next(answer: Answer, part: _Part, done: int) -> bytes:
    try:
        return answer.read(_CHUNK)
    except IncompleteRead as error:
        if error.partial:  # as of a body without its length that ends within a chunk
            return error.partial
        raise _broken_off(part, done, answer.total) from error
    except (OSError, HTTPException) as error:
        raise _broken_off(part, done, answer.total) from error


def _write(file: RawIOBase, chunk: bytes, part: _Part, left: int | None) -> None:
    """Writes all of a chunk, of `left` bytes still to come. Raises as `output_errors`."""
    rest = memoryview(chunk)
    try:
        may_fail("download")
        while rest:
            rest = rest[file.write(rest) or 0 :]
    except OSError as error:
        if error.errno not in FULL_DISK:
            with output_errors(part.path):
                raise
        needed = "" if left is None else f" {_mib(left)} more are needed."
        raise OutputError(
            f"The disk is full: {printable(part.path)} could not be written.{needed}",
            "Free some space, or set SLOTCLI_MODELS to another folder. What arrived is kept: the "
            "same command resumes.",
        ) from error


def _broken_off(part: _Part, done: int, total: int | None) -> UnavailableError:
    of = "" if total is None else f" of {_mib(total)}"
    return UnavailableError(
        f"{part.address}: the connection ended after {_mib(done)}{of}.",
        "What arrived is kept: the same command resumes.",
    )


def _require_room(part: _Part, had: int, total: int | None) -> None:
    """Raises OutputError where the rest of a file of `total` bytes does not fit on the disk."""
    if total is None:
        return
    free = shutil.disk_usage(part.path.parent).free
    if free < total - had:
        raise OutputError(
            f"{printable(part.path.parent)}: {_mib(total - had)} more are needed, {_mib(free)} "
            "are free.",
            "Free some space, or set SLOTCLI_MODELS to another folder. What arrived is kept.",
        )


def _require_size(part: _Part, known: int | None) -> None:
    """Raises DataError, and removes the part, where it has another size."""
    if known is not None and (found := part.size()) != known:
        part.remove()
        raise DataError(
            f"{part.address}: {found:,} bytes arrived, not the known {known:,}.",
            "They were removed. Fetch it again.",
        )


def _digest(path: Path) -> str:
    with output_errors(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mib(size: int) -> str:
    return f"{size / _MIB:,.1f} MiB"
