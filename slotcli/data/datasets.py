"""Clips to learn from, by number: rendered scenes, or the videos of a folder."""

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from slotcli.data.scenes import render_clips
from slotcli.errors import ConfigError, NoInputError, SlotcliError
from slotcli.spec import DataSpec, SynthSpec
from slotcli.types import Clip, Size
from slotcli.video.images import IMAGE_SUFFIXES
from slotcli.video.pixels import resized
from slotcli.video.reader import VIDEO_SUFFIXES, open_clip

# Seeds of rendered scenes, by use. Training stays below the first; nothing is ever trained on, or
# selected by, a seed of TEST; the clips in samples/ are from SAMPLES.
VALIDATION_SEEDS = 1_000_000_000
TEST_SEEDS = 2_000_000_000
SAMPLE_SEEDS = 3_000_000_000

_CACHE_BYTES = 2 << 30
_RENDERED_TOGETHER = 16


@runtime_checkable
class Dataset(Protocol):
    """Clips by index; every clip has at least one frame."""

    def __len__(self) -> int: ...

    def frames(self, index: int) -> int:
        """Number of frames of a clip."""
        ...

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        """`length` frames of a clip at the data set's size, every `stride`-th from `start`."""
        ...


class SynthDataset:
    """Scenes rendered when first asked for, then kept in memory."""

    def __init__(self, spec: SynthSpec, size: Size) -> None:
        total = sum(spec.mix.values())
        if abs(total - 1) > 1e-6:
            raise ConfigError(
                f"data.mix: shares add up to {total:g}, not 1.", "Correct the shares."
            )
        if spec.seed + spec.clips > VALIDATION_SEEDS:
            raise ConfigError(
                f"data.seed: seeds from {VALIDATION_SEEDS} on are kept for evaluation.",
                "Choose a smaller seed.",
            )
        self.spec = spec
        self.size = size
        self._clips: dict[int, Clip] = {}

    def __len__(self) -> int:
        return self.spec.clips

    def frames(self, index: int) -> int:
        return self.spec.frames

    def tier(self, index: int) -> str:
        """Tiers take turns so that any stretch of indices holds them in the mix's proportions."""
        position = (index * 0.6180339887498949) % 1.0
        for tier, share in self.spec.mix.items():
            position -= share
            if position < 0:
                return tier
        return next(reversed(self.spec.mix))

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        if index not in self._clips:
            self._render_with(index)
        return _window(self._clips[index], start, length, stride)

    def _render_with(self, index: int) -> None:
        """Renders a clip and the next few of its tier: physics costs many what it costs one."""
        tier = self.tier(index)
        together = [
            other
            for other in range(index, len(self))
            if other not in self._clips and self.tier(other) == tier
        ][:_RENDERED_TOGETHER]
        seeds = [self.spec.seed + other for other in together]
        batch = render_clips(seeds, tier, self.spec.frames, self.size)
        for place, other in enumerate(together):
            labels = None if batch.labels is None else batch.labels[place]
            self._clips[other] = Clip(batch.frames[place], labels)


class VideoFolder:
    """The videos under a folder, decoded at the model's size; the latest decoded stay in memory.

    Clips that cannot be decoded are left out and named in `unreadable`.
    """

    def __init__(self, folder: Path, size: Size) -> None:
        if not folder.is_dir():
            raise NoInputError(f"{folder}: there is no such folder.", "Check --data.")
        self.size = size
        self.unreadable: dict[Path, SlotcliError] = {}
        self._paths: list[Path] = []
        self._lengths: list[int] = []
        self._cache: OrderedDict[int, Clip] = OrderedDict()
        self._cached_bytes = 0
        for path in find_clips(folder):
            try:
                length = sum(len(chunk) for chunk in _small_chunks(path, size))
            except SlotcliError as error:
                self.unreadable[path] = error
                continue
            self._paths.append(path)
            self._lengths.append(length)
        if not self._paths:
            raise NoInputError(f"{folder}: holds no readable video.", "Check --data.")

    def __len__(self) -> int:
        return len(self._paths)

    def frames(self, index: int) -> int:
        return self._lengths[index]

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        if index not in self._cache:
            chunks = list(_small_chunks(self._paths[index], self.size))
            clip = Clip(torch.from_numpy(np.concatenate(chunks)).permute(0, 3, 1, 2).contiguous())
            self._cache[index] = clip
            self._cached_bytes += clip.frames.nbytes
            while self._cached_bytes > _CACHE_BYTES and len(self._cache) > 1:
                self._cached_bytes -= self._cache.popitem(last=False)[1].frames.nbytes
        self._cache.move_to_end(index)
        return _window(self._cache[index], start, length, stride)


def open_dataset(spec: DataSpec, size: Size) -> Dataset:
    """The data set that a spec names, at a model's size."""
    if isinstance(spec, SynthSpec):
        return SynthDataset(spec, size)
    return VideoFolder(Path(spec.path), size)


def find_clips(folder: Path) -> list[Path]:
    """Every video file under a folder, and every folder of images in it, in a fixed order."""
    files = [path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES]
    images = {path.parent for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES}
    return sorted([path for path in files if path.is_file()] + list(images))


def _small_chunks(path: Path, size: Size) -> Iterator[np.ndarray]:
    with open_clip(path) as reader:
        for chunk in reader.chunks(32):
            yield np.stack([resized(frame, size) for frame in chunk.frames])


def _window(clip: Clip, start: int, length: int, stride: int) -> Clip:
    end = start + (length - 1) * stride + 1
    labels = None if clip.labels is None else clip.labels[start:end:stride]
    return Clip(clip.frames[start:end:stride], labels)
