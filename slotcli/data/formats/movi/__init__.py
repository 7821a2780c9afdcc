"""MOVi-A to MOVi-F, in any of its layouts."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from slotcli.data.clip_cache import CACHE_BYTES, ClipCache, concatenate
from slotcli.data.dataset import Dataset
from slotcli.data.formats.file_index import FileIndex
from slotcli.data.formats.movi.frames import FrameFolders, holds_frames
from slotcli.data.formats.movi.layout import MoviFiles, StoredFrame
from slotcli.data.formats.movi.records import SHARD, RecordFiles
from slotcli.data.formats.movi.tars import TarFiles, tar_files
from slotcli.data.formats.pictures import resized_labels
from slotcli.data.formats.splits import SPLIT_NAMES
from slotcli.errors import DataError, NoInputError, UsageError, printable
from slotcli.files.reading import access_errors
from slotcli.spec import SplitName
from slotcli.types import Clip, Size
from slotcli.video.pixels import resized

LayoutName = Literal["records", "tars", "frames"]

_OPENERS: dict[LayoutName, Callable[[Path, SplitName], MoviFiles]] = {
    "records": RecordFiles,
    "tars": TarFiles,
    "frames": FrameFolders,
}
# Folders of TensorFlow Datasets between its root and the record files.
_ABOVE_RECORDS = re.compile(r"movi_[a-z]|\d+x\d+|\d+\.\d+\.\d+")


@dataclass(frozen=True)
class MoviLocation:
    """A layout, and its root folder."""

    layout: LayoutName
    folder: Path


class Movi(Dataset):
    """A split of MOVi; frames are decoded one by one, the latest of them stay in memory.

    Labels are the ids in the file. With a size, frames are resized as every other image is
    (`video.pixels.resized`) and labels by nearest neighbour. Raises NoInputError where the folder
    holds no MOVi or not the split, DataError where a file is missing or broken.
    """

    def __init__(self, folder: Path, split: SplitName, size: Size | None) -> None:
        place = find_movi(folder)
        if place is None:
            raise NoInputError(
                f"{printable(folder)} holds MOVi in none of its layouts.",
                "They are TFRecord files, tar files of arrays, and folders of numbered frames.",
            )
        self.location = place
        self.files = _OPENERS[place.layout](place.folder, split)
        self.labelled = self.files.labelled
        self.layout = place.layout
        self.remarks = self.files.remarks
        self._size = size
        # Without a size, clips are copied or checked: each is read only once.
        self._cache: ClipCache[tuple[int, int]] = ClipCache(0 if size is None else CACHE_BYTES)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return self.files.name(index)

    def frames(self, index: int) -> int:
        return self.files.frames(index)

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        times = range(start, start + length * stride, stride)
        kept = {time: clip for time in times if (clip := self._cache.get((index, time)))}
        missing = [time for time in times if time not in kept]
        for time, stored in zip(missing, self.files.read(index, missing), strict=True):
            kept[time] = self._decoded(stored)
            self._cache.put((index, time), kept[time])
        frames = [kept[time] for time in times]
        if len({clip.frames.shape for clip in frames}) > 1:
            raise DataError(
                f"The frames of {self.name(index)} in {printable(self.location.folder)} differ in "
                "size.",
                "Fetch the clip again.",
            )
        return concatenate(frames)

    def video_name(self, index: int) -> str | None:
        return self.files.video_name(index)

    def verify(self, index: int) -> None:
        self.files.verify(index)

    def complete_index(self) -> FileIndex | None:
        return self.files.complete_index()

    def _decoded(self, stored: StoredFrame) -> Clip:
        picture, labels = stored.picture, stored.labels
        if labels is not None and labels.shape != picture.shape[:2]:
            raise DataError(
                f"{stored.origin}: a mask of {list(labels.shape)} pixels does not fit a picture of "
                f"{list(picture.shape[:2])}.",
                "Fetch the clip again.",
            )
        if self._size is not None:
            picture = resized(picture, self._size)
            labels = None if labels is None else resized_labels(labels, self._size)
        frame = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]
        return Clip(frame, None if labels is None else torch.from_numpy(labels.copy())[None])


def find_movi(folder: Path) -> MoviLocation | None:
    """The MOVi layout of a folder, recognised by the names in it; None where it has none.

    Record files may be deeper, as TensorFlow Datasets stores them: `movi_e/128x128/1.0.0`. Raises
    UsageError where there are several such folders, AccessError.
    """
    with access_errors(folder):
        versions = _record_folders(folder)
    if len(versions) > 1:
        raise UsageError(
            f"{printable(folder)} holds several versions of MOVi: "
            f"{', '.join(printable(version.relative_to(folder)) for version in versions)}.",
            "Name the folder of one of them.",
        )
    if versions:
        return MoviLocation("records", versions[0])
    if any(tar_files(folder, split) for split in SPLIT_NAMES):
        return MoviLocation("tars", folder)
    if holds_frames(folder):
        return MoviLocation("frames", folder)
    return None


def _record_folders(folder: Path) -> list[Path]:
    if any(SHARD.fullmatch(path.name) for path in folder.iterdir()):
        return [folder]
    below = [path for path in folder.iterdir() if _ABOVE_RECORDS.fullmatch(path.name)]
    return [found for path in sorted(below) if path.is_dir() for found in _record_folders(path)]
