"""The videos of a folder that `data synth` wrote, with their true masks beside them."""

from pathlib import Path

import numpy as np
import torch

from slotcli.data.datasets import VideoFolder
from slotcli.data.pictures import resized_labels
from slotcli.evaluation.sources import SynthFolder
from slotcli.types import Clip


class MaskedVideos:
    """Clips of the videos, at their size, with labels as far as all of them are in the index."""

    def __init__(self, folder: Path, videos: VideoFolder) -> None:
        self._videos = videos
        self._scenes = SynthFolder(folder)
        places = {f"{self._scenes.name(n)}.mp4": n for n in range(len(self._scenes))}
        self._places = [places.get(videos.name(index)) for index in range(len(videos))]
        self.labelled = None not in self._places

    def __len__(self) -> int:
        return len(self._videos)

    def name(self, index: int) -> str:
        return self._videos.name(index)

    def frames(self, index: int) -> int:
        return self._videos.frames(index)

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        """Raises DataError where the masks are not there or are not those of the frames."""
        clip = self._videos.clip(index, start, length, stride)
        place = self._places[index]
        if not self.labelled or place is None:
            return clip
        labels = self._scenes.clip(place, start, length, stride).labels
        assert labels is not None
        size = (clip.frames.shape[-2], clip.frames.shape[-1])
        own = np.stack([resized_labels(label, size) for label in labels.numpy()])
        return Clip(clip.frames, torch.from_numpy(own))
