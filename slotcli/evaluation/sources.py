"""Sources of clips for evaluation, loaded one at a time so that memory is bounded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from slotcli.data.datasets import open_folder
from slotcli.data.formats.pictures import resized_labels
from slotcli.data.kinds import DataKind
from slotcli.data.recognise import recognise
from slotcli.data.video_folder import _first_frames
from slotcli.errors import (
    DataError,
    NoInputError,
    SlotcliError,
    UsageError,
    clip_error,
    printable,
)
from slotcli.evaluation.segmenter import resize_frames
from slotcli.scenes import TIERS, render_clip
from slotcli.spec import SplitName
from slotcli.tracks.fitting import shape_like
from slotcli.types import Clip, Size
from slotcli.video.finding import find_clips, skip_summary
from slotcli.video.folder_contents import Skipped

RENDERED = "synth:"


@dataclass(frozen=True)
class ClipSource:
    """Clips by number; `load` raises DataError and its kin for one that cannot be read."""

    names: list[str]
    labelled: bool
    load: Callable[[int], Clip]
    remarks: tuple[str, ...] = ()  # warnings for the user
    passed_over: tuple[Skipped, ...] = ()


def open_source(
    reference: str,
    *,
    clips: int,
    frames: int,
    size: Size,
    first_seed: int,
    split: SplitName = "test",
    kind: DataKind | None = None,
    keep: bool = False,
    own_size: bool = False,
) -> ClipSource:
    """Open the source that `reference` names: at most `clips` clips of at most `frames` frames.

    `synth:TIER` is rendered at `size` from seeds `first_seed` on. A folder is of the given `kind`,
    which is otherwise recognised. It is one of: a published data set, whose split's first clips
    have frames and labels resized to `size`, as the paper scores, or with `keep` to each clip's own
    aspect ratio with that area (only DAVIS and YouTube-VIS have other shapes than squares), or with
    `own_size` not resized at all; clips
    written by `data synth`, with labels, at their own size; or any videos without labels, which are
    all listed, because some may be unreadable. Raises UsageError for an unknown tier or a folder
    that could be several kinds, NoInputError, DataError.
    """
    if reference.startswith(RENDERED):
        return _rendered(reference.removeprefix(RENDERED), clips, frames, size, first_seed)
    folder = Path(reference)
    kind = kind or recognise(folder)
    if kind == "folder":
        return _videos(folder, frames)
    keeps = keep and not own_size and kind in ("davis", "ytvis")
    dataset = open_folder(folder, kind, split, None if keeps or own_size else size)

    def load(index: int) -> Clip:
        clip = dataset.clip(index, 0, min(frames, dataset.frames(index)))
        return _in_its_shape(clip, size) if keeps else clip

    return ClipSource(
        [dataset.name(index) for index in range(min(clips, len(dataset)))],
        dataset.labelled,
        load,
        tuple(dataset.remarks),
    )


def unrelated_frames(
    source: ClipSource,
    *,
    clips: int,
    frames: int,
    size: Callable[[UInt8[Tensor, "t 3 h w"]], Size],
    progress: Callable[[int, int], None],
) -> tuple[UInt8[Tensor, "b t 3 h w"], dict[str, SlotcliError]]:
    """The first `frames` frames of the first `clips` clips that have them, at the first's `size`.

    Also returns, by name, the reason of each clip that was left out. Raises NoInputError if no clip
    is left.
    """
    kept: list[Tensor] = []
    left_out: dict[str, SlotcliError] = {}
    for number, name in enumerate(source.names):
        if len(kept) == clips:
            break
        try:
            found = source.load(number).frames[:frames]
        except Exception as error:
            left_out[name] = clip_error(error)
            continue
        if len(found) < frames:
            left_out[name] = DataError(f"it has only {len(found)} frames.", "Ask for fewer frames.")
            continue
        kept.append(resize_frames(found, _size_of(kept[0]) if kept else size(found)))
        progress(len(kept), min(clips, len(source.names)))
    if not kept:
        raise NoInputError(
            f"None of {len(source.names)} clips has {frames} frames that can be read.",
            "Choose another folder, or fewer frames.",
        )
    return torch.stack(kept), left_out


def _in_its_shape(clip: Clip, size: Size) -> Clip:
    own = shape_like(_size_of(clip.frames), size[0] * size[1])
    labels = clip.labels
    if labels is not None:
        labels = torch.from_numpy(np.stack([resized_labels(one, own) for one in labels.numpy()]))
    return Clip(resize_frames(clip.frames, own), labels)


def _size_of(frames: UInt8[Tensor, "t 3 h w"]) -> Size:
    return frames.shape[-2], frames.shape[-1]


def _rendered(tier: str, clips: int, frames: int, size: Size, first_seed: int) -> ClipSource:
    if tier not in TIERS:
        raise UsageError(
            f"{RENDERED}{tier}: there is no such tier.", f"Use one of {', '.join(TIERS)}."
        )
    return ClipSource(
        [f"{tier}-{first_seed + number}" for number in range(clips)],
        True,
        lambda number: render_clip(first_seed + number, tier, frames, size),
    )


def _videos(folder: Path, frames: int) -> ClipSource:
    found = find_clips(folder)
    paths = found.clips
    if not paths:
        told = skip_summary(found.passed_over)
        raise NoInputError(
            f"{printable(folder)} has no videos in it. {told}".rstrip(), "Check the path."
        )
    return ClipSource(
        [printable(p.relative_to(folder) if p != folder else p.name) for p in paths],
        False,
        lambda number: Clip(_first_frames(paths[number], frames)),
        tuple(error.what for error in found.failures.values()),
        tuple(found.passed_over),
    )
