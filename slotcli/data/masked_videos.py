"""Videos of a folder with instance masks of another folder, as a labelled data set."""

from pathlib import Path

import numpy as np
import torch

from slotcli.data.clip_cache import ClipCache, cut_window
from slotcli.data.dataset import Dataset
from slotcli.data.formats.file_index import FileIndex
from slotcli.data.formats.pictures import resized_labels
from slotcli.data.video_folder import VideoFolder
from slotcli.errors import DataError, NoInputError, printable
from slotcli.tracks.masks import read_masks
from slotcli.types import Clip


class MaskedVideos(Dataset):
    """Clips of the videos, at their size, with the labels in `masks`.

    The masks of `videos/a/b.mp4`, or of the folder of images `videos/a/b`, are the PNGs in
    `masks/a/b`, one a frame, or the gray video `masks/a/b.mkv`: 0 is background, 1 to 254 are
    instances, 255 is not counted. They are resized as the frames are. Raises NoInputError where a
    video has none, DataError where two have the same.
    """

    labelled = True

    def __init__(self, videos: VideoFolder, masks: Path) -> None:
        self._videos = videos
        self.remarks = videos.remarks
        self.unreadable = videos.unreadable
        self.passed_over = videos.passed_over
        self._masks = [_masks_of(videos, index, masks) for index in range(len(videos))]
        self._require_one_video_each()
        self._cache: ClipCache[int] = ClipCache()

    def __len__(self) -> int:
        return len(self._videos)

    def name(self, index: int) -> str:
        return self._videos.name(index)

    def frames(self, index: int) -> int:
        return self._videos.frames(index)

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        """Raises DataError where the masks are damaged or not as many as the frames."""
        clip = self._cache.get(index)
        if clip is None:
            frames = self._videos.clip(index, 0, self.frames(index)).frames
            clip = Clip(frames, self._labels(index, (frames.shape[-2], frames.shape[-1])))
            self._cache.put(index, clip)
        return cut_window(clip, start, length, stride)

    def complete_index(self) -> FileIndex:
        return self._videos.complete_index()

    def _require_one_video_each(self) -> None:
        first: dict[Path, int] = {}
        for index, path in enumerate(self._masks):
            if (other := first.setdefault(path, index)) != index:
                raise DataError(
                    f"{printable(path)} would be the masks of both {self.name(other)} and "
                    f"{self.name(index)}.",
                    "Rename one of the videos, and its masks.",
                )

    def _labels(self, index: int, size: tuple[int, int]) -> torch.Tensor:
        path = self._masks[index]
        labels = [resized_labels(label, size) for label in read_masks(path)]
        if len(labels) != self.frames(index):
            raise DataError(
                f"{printable(path)} has {len(labels)} masks, but {self.name(index)} has "
                f"{self.frames(index)} frames.",
                "Export the masks of every frame.",
            )
        return torch.from_numpy(np.stack(labels))


def _masks_of(videos: VideoFolder, index: int, masks: Path) -> Path:
    video = videos.without_suffix(index)
    for path in (masks / video, masks / f"{video}.mkv"):
        if path.exists():
            return path
    raise NoInputError(
        f"{printable(masks)} has no masks of {videos.name(index)}.",
        f"Put them into {printable(masks / video)}, one PNG a frame, or take the video away.",
    )
