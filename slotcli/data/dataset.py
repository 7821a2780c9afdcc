"""The interface of every data set, whatever its files are."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from slotcli.errors import SlotcliError
from slotcli.types import Clip
from slotcli.video.folder_contents import Skipped

if TYPE_CHECKING:
    from slotcli.data.formats.file_index import FileIndex

STREAMED_TOGETHER = 32  # frames


class Dataset(ABC):
    """Clips by index; every clip has at least one frame.

    A published data set is a class (`Movi`, `Clevrtex`, `Celeba`, `Davis`, `YoutubeVis`) made by
    `(folder: Path, split: SplitName, size: Size | None)`; without a size nothing is resized. It
    raises NoInputError where the folder has no such split, and never replaces a sample: a missing
    or broken one is a NoInputError or DataError that names the file.
    """

    labelled: bool  # whether clips come with labels
    layout: str = "files"  # the storage layout, where a data set has several
    remarks: Sequence[str] = ()  # for the user who opened it
    passed_over: Sequence[Skipped] = ()  # files that are not clips
    unreadable: Mapping[Path, SlotcliError] = MappingProxyType({})  # clips that were left out

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """A clip's name for display: stable, and unique within the data set."""

    @abstractmethod
    def frames(self, index: int) -> int:
        """Number of frames of a clip, found without decoding them."""

    @abstractmethod
    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        """`length` frames of a clip at the data set's size, every `stride`-th from `start`.

        Labels, if any: 0 is background, 1 to 254 are instances, 255 is ignored.
        """

    def stream(self, index: int) -> Iterator[Clip]:
        """A clip from start to end, a few frames at a time. Raises DataError if it is damaged."""
        total = self.frames(index)
        for start in range(0, total, STREAMED_TOGETHER):
            yield self.clip(index, start, min(STREAMED_TOGETHER, total - start))

    def verify(self, index: int) -> None:
        """Checks what decoding a clip does not check. Raises DataError naming the file."""
        del index

    def video_name(self, index: int) -> str | None:
        """The file's own name for a clip; None where it has none."""
        del index
        return None

    def complete_index(self) -> "FileIndex | None":
        """The index of files whose parts have to be searched for; None where no file needs one."""
        return None
