"""The videos of a folder as a data set without labels."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from slotcli.data.clip_cache import ClipCache, concatenate, cut_window
from slotcli.data.dataset import STREAMED_TOGETHER, Dataset
from slotcli.data.formats.file_index import FileIndex, Part
from slotcli.errors import DataError, NoInputError, clip_error, printable
from slotcli.types import Clip, Size
from slotcli.video.finding import find_clips, skip_summary
from slotcli.video.pixels import resized
from slotcli.video.reader import open_clip

_WHOLE = 0.98  # of the frames that a video declares


class VideoFolder(Dataset):
    """The videos under a folder; the latest decoded stay in memory.

    Clips that cannot be decoded, for whatever reason, are left out and listed in `unreadable`;
    `passed_over` lists files that are not clips. To count a video's frames it has to be decoded,
    unless the folder's index has them (formats.file_index).
    """

    labelled = False

    def __init__(self, folder: Path, size: Size | None) -> None:
        if not folder.is_dir():
            raise NoInputError(f"{printable(folder)}: there is no such folder.", "Check --data.")
        self.size = size
        self.index = FileIndex(folder)
        self.remarks = self.index.remarks
        self._folder = folder
        self._paths: list[Path] = []
        self._lengths: list[int] = []
        self._cache: ClipCache[int] = ClipCache()
        found = find_clips(folder)
        self.passed_over = found.passed_over
        unreadable = found.failures
        self.unreadable = unreadable
        for path in found.clips:
            try:
                # A folder's modification time does not change with the images in it.
                parts = _count(path) if path.is_dir() else self.index.parts(path, _count)
            except Exception as error:
                unreadable[path] = clip_error(error)
                continue
            self._paths.append(path)
            self._lengths.append(sum(length for _, _, length in parts))
        if not self._paths:
            told = skip_summary(self.passed_over)
            raise NoInputError(
                f"{printable(folder)}: holds no readable video. {told}".rstrip(),
                "Check the folder; --verbose lists what was passed over.",
            )

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        return printable(self.relative(index))

    def relative(self, index: int) -> Path:
        """A clip's path in the folder; the folder's name where it is itself the clip."""
        path = self._paths[index]
        return path.relative_to(self._folder) if path != self._folder else Path(path.name)

    def without_suffix(self, index: int) -> Path:
        """`relative` without a file's suffix; the name of a folder of images has none."""
        path = self.relative(index)
        return path if self._paths[index].is_dir() else path.with_suffix("")

    def frames(self, index: int) -> int:
        return self._lengths[index]

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        clip = self._cache.get(index)
        if clip is None:
            clip = concatenate(list(_chunks(self._paths[index], self.size)))
            if len(clip.frames) != self._lengths[index]:
                raise DataError(
                    f"{printable(self._paths[index])} has changed since it was counted.",
                    "Run again.",
                )
            self._cache.put(index, clip)
        return cut_window(clip, start, length, stride)

    def stream(self, index: int) -> Iterator[Clip]:
        yield from _chunks(self._paths[index], self.size, refuse_damage=True)

    def complete_index(self) -> FileIndex:
        return self.index


def _count(path: Path) -> list[Part]:
    with open_clip(path) as reader:
        return [("", 0, sum(len(chunk) for chunk in reader.chunks(32)))]


def _chunks(path: Path, size: Size | None, *, refuse_damage: bool = False) -> Iterator[Clip]:
    with open_clip(path) as reader:
        for chunk in reader.chunks(STREAMED_TOGETHER):
            frames = chunk.frames
            if size is not None:
                frames = np.stack([resized(frame, size) for frame in frames])
            yield Clip(torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous())
        lost = reader.damage.packet_errors + reader.damage.corrupt_frames
        coverage = reader.damage.coverage
        if refuse_damage and (lost or (coverage is not None and coverage < _WHOLE)):
            raise DataError(
                f"{printable(path)} is damaged: {lost} frames or pieces of it are lost"
                + ("." if coverage is None else f", and {coverage:.0%} of its frames are there."),
                "Fetch the file again.",
            )


def _first_frames(path: Path, frames: int) -> UInt8[Tensor, "t 3 h w"]:
    with open_clip(path) as reader:
        chunk = next(reader.chunks(frames))
    return torch.from_numpy(np.ascontiguousarray(chunk.frames)).permute(0, 3, 1, 2).contiguous()
