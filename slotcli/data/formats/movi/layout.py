"""The common interface of the layouts of MOVi."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from slotcli.data.formats.file_index import FileIndex


@dataclass(frozen=True)
class StoredFrame:
    """A frame as it is stored, at its own size, and the origin that errors about it name."""

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
        """The file's own name for the clip; None where it has none."""
        ...

    def frames(self, index: int) -> int: ...

    def read(self, index: int, times: Sequence[int]) -> list[StoredFrame]:
        """The frames at the given times, in that order."""
        ...

    def verify(self, index: int) -> None:
        """Checks the files of a clip that decoding does not check."""
        ...

    def complete_index(self) -> FileIndex | None:
        """The index of all files of the split; None where none of them has to be searched."""
        ...
