"""Clips by number: rendered scenes, the videos of a folder, or a published data set."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch

from slotcli.data.celeba import Celeba
from slotcli.data.clevrtex import Clevrtex
from slotcli.data.clip_cache import ClipCache, joined, window
from slotcli.data.davis import Davis
from slotcli.data.file_index import FileIndex, Part
from slotcli.data.mixture import Mixture
from slotcli.data.movi import Movi
from slotcli.data.scene_cache import KeptScenes, Scene
from slotcli.data.scenes import Rendered, render_clips
from slotcli.data.sprites import Sprites
from slotcli.data.ytvis import YoutubeVis
from slotcli.errors import (
    ConfigError,
    DataError,
    NoInputError,
    SlotcliError,
    clip_error,
    printable,
)
from slotcli.spec import DataSpec, FolderSpec, MixtureSpec, SplitName, SpritesSpec, SynthSpec
from slotcli.types import Clip, Size
from slotcli.video.finding import counted, find_clips
from slotcli.video.folder_contents import PassedOver
from slotcli.video.pixels import resized
from slotcli.video.reader import open_clip

# Seeds of rendered scenes, by use. Training stays below the first; nothing is ever trained on, or
# selected by, a seed of TEST; the clips in samples/ are from SAMPLES.
VALIDATION_SEEDS = 1_000_000_000
TEST_SEEDS = 2_000_000_000
SAMPLE_SEEDS = 3_000_000_000

_RENDERED_TOGETHER = 16
_STREAMED_TOGETHER = 32
_WHOLE = 0.98  # of the frames that a video declares

PublicKind = Literal["movi", "clevrtex", "celeba", "davis", "ytvis"]
_PUBLIC: dict[PublicKind, Callable[[Path, SplitName, Size | None], "Dataset"]] = {
    "movi": Movi,
    "clevrtex": Clevrtex,
    "celeba": Celeba,
    "davis": Davis,
    "ytvis": YoutubeVis,
}


@runtime_checkable
class Dataset(Protocol):
    """Clips by index; every clip has at least one frame.

    A published data set is a class (`Movi`, `Clevrtex`, `Celeba`, `Davis`, `YoutubeVis`) made by
    `(folder: Path, split: SplitName, size: Size | None)`; without a size nothing is resized. It
    raises NoInputError where the folder has no such split, and never replaces a sample: what is
    missing or broken is a NoInputError or DataError that names the file.
    """

    labelled: bool  # whether clips come with labels

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What a clip is called: stable, fit for people, unique within the data set."""
        ...

    def frames(self, index: int) -> int:
        """Number of frames of a clip, found without decoding them."""
        ...

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        """`length` frames of a clip at the data set's size, every `stride`-th from `start`.

        Labels, where there are any: 0 is background, 1 to 254 are instances, 255 is not counted.
        """
        ...


class SynthDataset:
    """Scenes rendered when first asked for, then kept in memory."""

    labelled = True

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
        self.rendered: Rendered | None = None  # called as clips are rendered
        self._clips: dict[int, Clip] = {}
        self._kept = None if spec.cache is None else KeptScenes(Path(spec.cache))

    def __len__(self) -> int:
        return self.spec.clips

    def name(self, index: int) -> str:
        return f"{self.tier(index)}-{self.spec.seed + index}"

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
        if self._kept is not None:
            if not self._kept.has(self._scene(index)):
                self._render_with(index)
            return self._kept.window(self._scene(index), start, length, stride)
        if index not in self._clips:
            self._render_with(index)
        return window(self._clips[index], start, length, stride)

    def _scene(self, index: int) -> Scene:
        return Scene(self.tier(index), self.spec.seed + index, self.spec.frames, self.size)

    def _is_there(self, index: int) -> bool:
        if self._kept is None:
            return index in self._clips
        return self._kept.has(self._scene(index))

    def _render_with(self, index: int) -> None:
        """Renders a clip and the next few of its tier: physics costs many what it costs one."""
        tier = self.tier(index)
        together = [
            other
            for other in range(index, len(self))
            if self.tier(other) == tier and not self._is_there(other)
        ][: _RENDERED_TOGETHER if self._kept is None else 1]  # other processes render the rest
        seeds = [self.spec.seed + other for other in together]
        there = len(self._clips)

        def rendered(done: int, total: int) -> None:
            if self.rendered is not None:
                self.rendered(there + done, len(self))

        batch = render_clips(seeds, tier, self.spec.frames, self.size, rendered=rendered)
        for place, other in enumerate(together):
            labels = None if batch.labels is None else batch.labels[place]
            clip = Clip(batch.frames[place], labels)
            if self._kept is None:
                self._clips[other] = clip
            else:
                self._kept.put(self._scene(other), clip)


class VideoFolder:
    """The videos under a folder; the latest decoded stay in memory.

    Clips that cannot be decoded, whatever the reason, are left out and named in `unreadable`;
    `passed_over` is what no clip is made of. To count a video's frames it has to be decoded, unless
    the folder's index knows them (data.file_index).
    """

    labelled = False

    def __init__(self, folder: Path, size: Size | None) -> None:
        if not folder.is_dir():
            raise NoInputError(f"{printable(folder)}: there is no such folder.", "Check --data.")
        self.size = size
        self.index = FileIndex(folder)
        self._folder = folder
        self._paths: list[Path] = []
        self._lengths: list[int] = []
        self._cache: ClipCache[int] = ClipCache()
        found = find_clips(folder)
        self.passed_over: list[PassedOver] = found.passed_over
        self.unreadable: dict[Path, SlotcliError] = found.failures
        for path in found.clips:
            try:
                # A folder's time of change says nothing of the images in it.
                parts = _count(path) if path.is_dir() else self.index.parts(path, _count)
            except Exception as error:
                self.unreadable[path] = clip_error(error)
                continue
            self._paths.append(path)
            self._lengths.append(sum(length for _, _, length in parts))
        if not self._paths:
            told = counted(self.passed_over)
            raise NoInputError(
                f"{printable(folder)}: holds no readable video. {told}".rstrip(),
                "Check the folder; --verbose lists what was passed over.",
            )

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        path = self._paths[index]
        return printable(path.relative_to(self._folder) if path != self._folder else path.name)

    def frames(self, index: int) -> int:
        return self._lengths[index]

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        clip = self._cache.get(index)
        if clip is None:
            clip = joined(list(_chunks(self._paths[index], self.size)))
            if len(clip.frames) != self._lengths[index]:
                raise DataError(
                    f"{printable(self._paths[index])} has changed since it was counted.",
                    "Run again.",
                )
            self._cache.put(index, clip)
        return window(clip, start, length, stride)

    def stream(self, index: int) -> Iterator[Clip]:
        """A clip a few frames at a time, in constant memory. Raises DataError if it is damaged."""
        path = self._paths[index]
        yield from _chunks(path, self.size, refuse_damage=True)


def open_dataset(spec: DataSpec, size: Size) -> Dataset:
    """The data set that a spec names, at a model's size."""
    if isinstance(spec, SynthSpec):
        return SynthDataset(spec, size)
    if isinstance(spec, FolderSpec):
        return VideoFolder(Path(spec.path), size)
    if isinstance(spec, SpritesSpec):
        return Sprites(spec, size)
    if isinstance(spec, MixtureSpec):
        parts = [open_dataset(part.data, size) for part in spec.parts]
        return Mixture(parts, [part.share for part in spec.parts])
    return open_public(spec.kind, Path(spec.path), spec.split, size)


def open_public(kind: PublicKind, folder: Path, split: SplitName, size: Size | None) -> Dataset:
    """A split of a published data set. Raises NoSplitError, NoInputError and DataError."""
    return _PUBLIC[kind](folder, split, size)


def stream(dataset: Dataset, index: int) -> Iterator[Clip]:
    """A clip from start to end, a few frames at a time."""
    if isinstance(dataset, VideoFolder):
        yield from dataset.stream(index)
        return
    total = dataset.frames(index)
    for start in range(0, total, _STREAMED_TOGETHER):
        yield dataset.clip(index, start, min(_STREAMED_TOGETHER, total - start))


def remarks(dataset: Dataset | None) -> list[str]:
    """What whoever opened a data set should be told, of an index that is out of date for one."""
    if isinstance(dataset, Movi):
        return dataset.remarks
    if isinstance(dataset, Mixture):
        return [remark for part in dataset.parts for remark in remarks(part)]
    return dataset.index.remarks if isinstance(dataset, VideoFolder) else []


def _count(path: Path) -> list[Part]:
    with open_clip(path) as reader:
        return [("", 0, sum(len(chunk) for chunk in reader.chunks(32)))]


def _chunks(path: Path, size: Size | None, *, refuse_damage: bool = False) -> Iterator[Clip]:
    with open_clip(path) as reader:
        for chunk in reader.chunks(_STREAMED_TOGETHER):
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
