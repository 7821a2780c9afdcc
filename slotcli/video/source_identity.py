"""A source's identity: a hash of its content, and its file state, which saves hashing it again.

A hash of samples would miss changes between them. Hashing the whole takes a fraction of the time of
decoding, and is repeated only where the file system reports a write since.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from slotcli.files.reading import access_errors, require_storage
from slotcli.video.folder_contents import list_folder

_BLOCK = 1 << 20
# A file written twice within a tick of the file system's clock keeps its modification time.
_SETTLED_SECONDS = 2.0


@dataclass(frozen=True)
class SourceIdentity:
    """`digest` is the content's; `state` is the file system's, None while it may be outdated."""

    digest: str
    state: str | None


def source_identity(
    source: Path, known: SourceIdentity | None, hashed: Callable[[], None] = lambda: None
) -> SourceIdentity:
    """A source's current identity; `known` is an earlier one, trusted while the state is the same.

    A folder's is that of the images that make the clip, by name. A copy has another state and the
    same digest. `hashed` is called where the content has to be read. Raises NoInputError and its
    kin.
    """
    with access_errors(source):
        require_storage(source)
        files = list_folder(source).frames if source.is_dir() else [source]
        state = _state(files, source.is_dir())
        if known is not None and state is not None and known.state == state:
            return known
        hashed()
        digest = _digest(files, source.is_dir())
        # The digest of files written to meanwhile has no valid state.
        return SourceIdentity(digest, state if state == _state(files, source.is_dir()) else None)


def _state(files: Iterable[Path], named: bool) -> str | None:
    """Sizes, times and inode numbers of the files; None where one was changed just now."""
    hasher, newest = hashlib.sha256(), 0
    for path in files:
        found = path.stat()
        newest = max(newest, found.st_mtime_ns, found.st_ctime_ns)
        facts = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        hasher.update((os.fsencode(path.name) if named else b"") + f"\0{facts}\n".encode())
    if time.time_ns() - newest < _SETTLED_SECONDS * 1e9:
        return None
    return hasher.hexdigest()


def _digest(files: Iterable[Path], named: bool) -> str:
    whole = hashlib.sha256()
    for path in files:
        hasher = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                hasher.update(block)
        whole.update((os.fsencode(path.name) if named else b"") + b"\0" + hasher.digest())
    return whole.hexdigest()
