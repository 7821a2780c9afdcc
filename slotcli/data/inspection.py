"""Facts on the splits of a data set, and its broken clips; writes the index of its files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slotcli.data.dataset import Dataset
from slotcli.data.datasets import open_folder
from slotcli.data.formats.file_index import INDEX
from slotcli.data.formats.splits import SPLIT_NAMES, NoSplitError, no_split
from slotcli.data.kinds import DataKind
from slotcli.data.recognise import PUBLIC_KINDS
from slotcli.errors import SlotcliError, clip_error, printable
from slotcli.files.writing import whole_file
from slotcli.spec import SplitName
from slotcli.types import Size

WITHOUT_SPLITS: SplitName = "train"  # the split name of data that has no splits


def check_clips(dataset: Dataset, progress: Callable[[int, int], None]) -> dict[str, SlotcliError]:
    """The broken clips, by name, with their errors; also checks what decoding does not."""
    broken = unreadable_clips(dataset)
    for index in range(len(dataset)):
        try:
            check_clip(dataset, index)
        except Exception as error:
            broken[dataset.name(index)] = clip_error(error)
        progress(index + 1, len(dataset))
    return broken


def check_clip(dataset: Dataset, index: int) -> tuple[int, Size]:
    """Decodes a whole clip; returns its number of frames and size. Raises DataError and its kin."""
    dataset.verify(index)
    frames, size = 0, (0, 0)
    for clip in dataset.stream(index):
        frames, size = frames + len(clip.frames), (clip.frames.shape[2], clip.frames.shape[3])
    return frames, size


def unreadable_clips(dataset: Dataset) -> dict[str, SlotcliError]:
    """The files that were left out when a folder of videos was opened."""
    return {printable(path): error for path, error in dataset.unreadable.items()}


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
    """Counts a split's frames, and decodes the first frame of the first sound clip."""
    broken = unreadable_clips(dataset)
    frames, size = 0, (0, 0)
    for number in range(len(dataset)):
        try:
            frames += dataset.frames(number)
            if size == (0, 0):
                picture = next(dataset.stream(number)).frames
                size = (picture.shape[2], picture.shape[3])
        except Exception as error:
            broken[dataset.name(number)] = clip_error(error)
        progress(number + 1, len(dataset))
    return SplitFacts(dataset.layout, len(dataset), frames, size, dataset.labelled, broken)


def write_index(dataset: Dataset) -> Path | None:
    """Writes the index of the files whose parts have to be searched for; None where none has.

    Raises AccessError where the folder may not be written to, OutputError and its kin.
    """
    index = dataset.complete_index()
    if index is None:
        return None
    path = index.folder / INDEX
    with whole_file(path) as file:
        file.write(index.with_latest().text().encode())
    return path


@dataclass(frozen=True)
class OpenedSplit:
    """A split at its own size; `error` in place of `dataset` where it cannot be read at all."""

    name: SplitName
    kind: DataKind
    dataset: Dataset | None
    error: SlotcliError | None = None


def open_splits(folder: Path, kind: DataKind, split: SplitName | None) -> list[OpenedSplit]:
    """The given split, or every existing one.

    Raises the errors of opening for a given split, NoSplitError where there is none.
    """
    if split is not None or kind not in PUBLIC_KINDS:
        name = split or WITHOUT_SPLITS
        return [OpenedSplit(name, kind, open_folder(folder, kind, name, None))]
    opened: list[OpenedSplit] = []
    for name in SPLIT_NAMES:
        try:
            opened.append(OpenedSplit(name, kind, open_folder(folder, kind, name, None)))
        except NoSplitError:
            continue
        except SlotcliError as error:
            opened.append(OpenedSplit(name, kind, None, error))
    if not opened:
        raise no_split(folder, WITHOUT_SPLITS)
    return opened
