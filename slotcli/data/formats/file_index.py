"""The parts of large files, saved beside them so that each file is searched only once.

`slotcli-index.json` is in the folder of the files, and names them relative to it, so that all can
be moved together. It is only a cache: a file whose size or modification time differs is searched
again, and so is every file where the index cannot be read.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slotcli.errors import SlotcliError, printable
from slotcli.files.reading import access_errors

INDEX = "slotcli-index.json"
SCHEMA = "slotcli.index/1"

Count = Annotated[int, Field(ge=0)]
Part = tuple[str, Count, Count]  # its name where it has one, its offset, its length


class IndexedFile(BaseModel):
    """The parts of a file, valid while it has this size and this modification time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    modified_ns: int
    parts: list[Part]


class _Index(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_: Literal["slotcli.index/1"] = Field(alias="schema")
    files: dict[str, IndexedFile]


class FileIndex:
    """The parts of files in a folder, from its index as far as that is present and valid.

    `remarks` lists the unusable parts of an index, with the reasons.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.remarks: list[str] = []
        self._known: dict[str, IndexedFile] = {}
        path = folder / INDEX
        if not path.exists():
            return
        try:
            with access_errors(path):
                files = _Index.model_validate_json(path.read_bytes()).files
        except (SlotcliError, ValidationError):
            self.remarks.append(f"{printable(path)} cannot be read: the files were searched again.")
            return
        self._known = {name: file for name, file in files.items() if self._is_true(name, file)}
        if changed := sorted(files.keys() - self._known.keys()):
            self.remarks.append(
                f"{len(changed)} files are not those that {printable(path)} was made from, "
                f"{printable(changed[0])} for one: they were searched again."
            )

    def parts(self, path: Path, find: Callable[[Path], list[Part]]) -> list[Part]:
        """The parts of a file in the folder, from the index or else from `find`."""
        name = path.relative_to(self.folder).as_posix()
        if name not in self._known:
            with access_errors(path):
                state = path.stat()
            parts = find(path)
            self._known[name] = IndexedFile(
                bytes=state.st_size, modified_ns=state.st_mtime_ns, parts=parts
            )
        return self._known[name].parts

    def with_latest(self) -> "FileIndex":
        """This index, merged with entries that others wrote to the folder since it was opened."""
        latest = FileIndex(self.folder)
        latest._known |= self._known
        return latest

    def text(self) -> str:
        """The index as JSON, of every file that was read or is known."""
        # JSON has no names that are not Unicode: such a file is searched every time.
        names = [name for name in sorted(self._known) if _is_unicode(name)]
        files = {name: self._known[name].model_dump() for name in names}
        return json.dumps({"schema": SCHEMA, "files": files}) + "\n"

    def _is_true(self, name: str, file: IndexedFile) -> bool:
        try:
            state = (self.folder / name).stat()
        except (OSError, ValueError):
            return False
        return (state.st_size, state.st_mtime_ns) == (file.bytes, file.modified_ns)


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
