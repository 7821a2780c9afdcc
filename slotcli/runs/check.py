"""Every clip of a data set decoded, to find what is broken before a training run does."""

from collections.abc import Callable

from slotcli.data.datasets import Dataset, VideoFolder, stream
from slotcli.data.movi import Movi
from slotcli.errors import SlotcliError, clip_error, printable
from slotcli.types import Size


def check_clips(dataset: Dataset, progress: Callable[[int, int], None]) -> dict[str, SlotcliError]:
    """The clips that are broken, by name, and how; what decoding does not check is checked too."""
    broken = unreadable_clips(dataset)
    for index in range(len(dataset)):
        try:
            check_clip(dataset, index)
        except Exception as error:
            broken[dataset.name(index)] = clip_error(error)
        progress(index + 1, len(dataset))
    return broken


def check_clip(dataset: Dataset, index: int) -> tuple[int, Size]:
    """Decodes a clip from start to end: its frames and their size. Raises DataError and its kin."""
    if isinstance(dataset, Movi):
        dataset.verify(index)
    frames, size = 0, (0, 0)
    for clip in stream(dataset, index):
        frames, size = frames + len(clip.frames), (clip.frames.shape[2], clip.frames.shape[3])
    return frames, size


def unreadable_clips(dataset: Dataset) -> dict[str, SlotcliError]:
    """The files that were left out as a folder of videos was opened."""
    if not isinstance(dataset, VideoFolder):
        return {}
    return {printable(path): error for path, error in dataset.unreadable.items()}
