"""A folder that `data synth` wrote: its scenes, or its videos with the masks beside them."""

from itertools import islice
from pathlib import Path

import numpy as np
import torch

from slotcli.data.clip_cache import cut_window
from slotcli.data.dataset import Dataset
from slotcli.data.video_folder import _first_frames
from slotcli.errors import DataError, NoInputError, printable
from slotcli.scenes.folder import read_index
from slotcli.tracks.masks import read_masks
from slotcli.types import Clip


class SynthFolder(Dataset):
    """A folder that `data synth` wrote, in the order of its index; files are read at each use."""

    labelled = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clips = list(read_index(folder).values())
        if not self._clips:
            raise NoInputError(f"{printable(folder)} has no clips in its index.", "Make some.")

    def __len__(self) -> int:
        return len(self._clips)

    def name(self, index: int) -> str:
        return self._clips[index].name

    def frames(self, index: int) -> int:
        return self._clips[index].frames

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        clip, total = self._clips[index], start + (length - 1) * stride + 1
        frames = _first_frames(clip.video(self._folder), total)
        path = clip.labels(self._folder, clip.masks[0])
        labels = list(islice(read_masks(path), len(frames)))
        if [label.shape for label in labels] != [frames.shape[2:]] * total:
            raise DataError(
                f"The masks in {printable(path)} are not those of {clip.name}'s frames.",
                "Make the clip again: slotcli data synth --overwrite.",
            )
        whole = Clip(frames, torch.from_numpy(np.stack(labels)))
        return cut_window(whole, start, length, stride)
