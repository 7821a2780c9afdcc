"""What a split of a data set holds, found without decoding it, and its index written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slotcli.data.datasets import Dataset, VideoFolder, stream
from slotcli.data.file_index import INDEX, FileIndex
from slotcli.data.movi import Movi
from slotcli.errors import SlotcliError, clip_error
from slotcli.runs.check import unreadable_clips
from slotcli.tracks.writing import whole_file
from slotcli.types import Size


@dataclass(frozen=True)
class SplitFacts:
    """`frames` are of all clips that are not broken, `size` is the first of these clips' own."""

    layout: str
    clips: int
    frames: int
    size: Size
    labelled: bool
    broken: dict[str, SlotcliError]


def describe_split(dataset: Dataset, progress: Callable[[int, int], None]) -> SplitFacts:
    """Counts a split's frames and decodes the first one, of the first clip that has one."""
    broken = unreadable_clips(dataset)
    frames, size = 0, (0, 0)
    for number in range(len(dataset)):
        try:
            frames += dataset.frames(number)
            if size == (0, 0):
                picture = next(stream(dataset, number)).frames
                size = (picture.shape[2], picture.shape[3])
        except Exception as error:
            broken[dataset.name(number)] = clip_error(error)
        progress(number + 1, len(dataset))
    layout = dataset.place.layout if isinstance(dataset, Movi) else "files"
    return SplitFacts(layout, len(dataset), frames, size, dataset.labelled, broken)


def write_index(dataset: Dataset) -> Path | None:
    """Writes the index of the files whose parts take a search; None where nothing does.

    Raises AccessError where the folder may not be written to, OutputError and its kin.
    """
    index = _index_of(dataset)
    if index is None:
        return None
    path = index.folder / INDEX
    with whole_file(path) as file:
        file.write(index.with_latest().text().encode())
    return path


def _index_of(dataset: Dataset) -> FileIndex | None:
    if isinstance(dataset, Movi):
        return dataset.files.complete_index()
    return dataset.index if isinstance(dataset, VideoFolder) else None
