"""Divides a data set into a training and a held-out part, the same at every call.

By clip where there are enough clips, because two windows of one clip are much alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from slotcli.data.dataset import Dataset
from slotcli.errors import DataError
from slotcli.types import Clip

MOST_HELD_OUT = 64
_SHARE = 4  # every fourth clip is held out
_FEWEST_CLIPS = 4  # from which on whole clips are held out, two of them at least
_WINDOWS = 8  # of one clip, at most


@dataclass(frozen=True)
class Excerpt:
    """A segment of frames of one clip."""

    clip: int
    start: int
    frames: int


class Excerpts(Dataset):
    """Segments of a data set's clips as a data set."""

    def __init__(self, data: Dataset, excerpts: Sequence[Excerpt]) -> None:
        self.labelled = data.labelled
        self._data = data
        self._excerpts = excerpts

    def __len__(self) -> int:
        return len(self._excerpts)

    def name(self, index: int) -> str:
        excerpt = self._excerpts[index]
        name = self._data.name(excerpt.clip)
        if excerpt.frames == self._data.frames(excerpt.clip):
            return name
        return f"{name}, frames {excerpt.start} to {excerpt.start + excerpt.frames - 1}"

    def frames(self, index: int) -> int:
        return self._excerpts[index].frames

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        excerpt = self._excerpts[index]
        return self._data.clip(excerpt.clip, excerpt.start + start, length, stride)


@dataclass(frozen=True)
class Division:
    """`by_clip` is false where the held-out excerpts are windows of a clip or two."""

    training: list[Excerpt]
    held_out: list[Excerpt]
    by_clip: bool


def divide(lengths: Sequence[int], *, span: int, frames: int) -> Division:
    """Divides clips of these lengths; no clip is in both parts if there is more than one.

    Training takes windows of `span` frames; shorter clips are in neither part. Of four or more
    clips a quarter is held out, evenly spread, at most MOST_HELD_OUT. Of two or three, one is, in
    windows of `frames` with gaps of as many; of a single one, its last third. Raises DataError
    where that makes fewer than two windows.
    """
    usable = [index for index, length in enumerate(lengths) if length >= span]
    count = len(usable)
    if count >= _FEWEST_CLIPS:
        wanted = min(max(2, count // _SHARE), MOST_HELD_OUT)
        held = {(2 * number + 1) * count // (2 * wanted) for number in range(wanted)}
        parts: tuple[list[Excerpt], list[Excerpt]] = [], []
        for rank, index in enumerate(usable):
            parts[rank in held].append(Excerpt(index, 0, lengths[index]))
        return Division(*parts, by_clip=True)
    held_out: list[Excerpt] = []
    training: list[Excerpt] = []
    if count:
        # Most windows fit into the longest clip; of a single clip the beginning is for training.
        longest = max(usable, key=lambda index: lengths[index])
        training = [Excerpt(index, 0, lengths[index]) for index in usable if index != longest]
        first = 0 if training else lengths[longest] - lengths[longest] // 3
        held_out = _windows(longest, first, lengths[longest], frames)
        if not training and first - frames >= span:
            training = [Excerpt(longest, 0, first - frames)]
    if len(held_out) < 2 or not training:
        raise DataError(
            f"{_counted(len(lengths), 'clip')} of {_counted(max(lengths), 'frame')} at most "
            "cannot be divided into a part to learn from and one to judge by.",
            f"Give {_FEWEST_CLIPS} clips of {span} frames or more, or a single one of "
            f"{9 * frames + span} or more; better {MOST_HELD_OUT} clips or more.",
        )
    return Division(training, held_out, by_clip=False)


def _windows(clip: int, first: int, end: int, frames: int) -> list[Excerpt]:
    """Windows evenly spread from `first` to `end`, at least their own length apart."""
    count = min(_WINDOWS, (end - first + frames) // (2 * frames))
    room = end - first - frames
    starts = [first + room * number // max(1, count - 1) for number in range(count)]
    return [Excerpt(clip, start, frames) for start in starts]


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
