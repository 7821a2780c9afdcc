"""What the layouts that MOVi is kept in have in common, seen from the data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from slotcli.data.formats.file_index import FileIndex


@dataclass(frozen=True)
class StoredFrame:
    """A frame as it is stored, at its own size, and where errors about it should point."""

    picture: UInt8[np.ndarray, "h w 3"]
    labels: UInt8[np.ndarray, "h2 w2"] | None
    origin: str


class MoviFiles(Protocol):
    """The clips of a split in one layout. All methods raise NoInputError and DataError by name."""

    labelled: bool
    remarks: list[str]

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def video_name(self, index: int) -> str | None:
        """What the file itself calls the clip, None where it has no say in it."""
        ...

    def frames(self, index: int) -> int: ...

    def read(self, index: int, times: Sequence[int]) -> list[StoredFrame]:
        """The frames at the given times, in that order."""
        ...

    def verify(self, index: int) -> None:
        """Checks whatever of a clip's files decoding does not check."""
        ...

    def complete_index(self) -> FileIndex | None:
        """The index of all files of the split, None where nothing in them has to be searched."""
        ...
