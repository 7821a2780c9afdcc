"""Clips to judge a model on, loaded one at a time so that their number costs no memory."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from slotcli.data.datasets import find_clips
from slotcli.data.scenes import TIERS, render_clip
from slotcli.data.synth_files import SynthClip, read_index
from slotcli.errors import DataError, NoInputError, SlotcliError, UsageError, printable
from slotcli.evaluation.segmenter import at_size
from slotcli.tracks.masks import read_masks
from slotcli.types import Clip, Size
from slotcli.video.reader import open_clip

RENDERED = "synth:"


@dataclass(frozen=True)
class ClipSource:
    """Clips by number; `load` raises DataError and its kin for one that cannot be read."""

    names: list[str]
    labelled: bool
    load: Callable[[int], Clip]


def open_source(
    reference: str, *, clips: int, frames: int, size: Size, first_seed: int
) -> ClipSource:
    """What `reference` names: at most `clips` clips of at most `frames` frames.

    `synth:TIER` is rendered at `size` from seeds `first_seed` on. A folder as data.synth_files lays
    it out has labels; any other folder of videos has none, and of it all clips are named, since
    some may turn out to be unreadable. Raises UsageError for an unknown tier, NoInputError.
    """
    if reference.startswith(RENDERED):
        return _rendered(reference.removeprefix(RENDERED), clips, frames, size, first_seed)
    folder = Path(reference)
    if not folder.is_dir():
        raise NoInputError(
            f"{printable(folder)}: there is no such folder.", "Give a folder, or synth:C."
        )
    index = list(read_index(folder).values())[:clips]
    return _written(folder, index, frames) if index else _videos(folder, frames)


def unrelated_frames(
    source: ClipSource,
    *,
    clips: int,
    frames: int,
    size: Size,
    progress: Callable[[int, int], None],
) -> tuple[UInt8[Tensor, "b t 3 h w"], dict[str, SlotcliError]]:
    """The first `frames` frames of the first `clips` clips that have them, at `size`.

    Beside them, by name, the clips that were left out and why. Raises NoInputError if none is left.
    """
    kept: list[Tensor] = []
    left_out: dict[str, SlotcliError] = {}
    for number, name in enumerate(source.names):
        if len(kept) == clips:
            break
        try:
            found = source.load(number).frames[:frames]
        except SlotcliError as error:
            left_out[name] = error
            continue
        if len(found) < frames:
            left_out[name] = DataError(f"it has only {len(found)} frames.", "Ask for fewer frames.")
            continue
        kept.append(at_size(found, size))
        progress(len(kept), min(clips, len(source.names)))
    if not kept:
        raise NoInputError(
            f"None of {len(source.names)} clips has {frames} frames that can be read.",
            "Choose another folder, or fewer frames.",
        )
    return torch.stack(kept), left_out


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


def _written(folder: Path, index: list[SynthClip], frames: int) -> ClipSource:
    def load(number: int) -> Clip:
        clip = index[number]
        found = _first_frames(clip.video(folder), frames)
        path = clip.labels(folder, clip.masks[0])
        labels = list(islice(read_masks(path), len(found)))
        if [label.shape for label in labels] != [found.shape[2:]] * len(found):
            raise DataError(
                f"The masks in {printable(path)} are not those of {clip.name}'s frames.",
                "Make the clip again: slotcli data synth --overwrite.",
            )
        return Clip(found, torch.from_numpy(np.stack(labels)))

    return ClipSource([clip.name for clip in index], True, load)


def _videos(folder: Path, frames: int) -> ClipSource:
    paths = find_clips(folder)
    if not paths:
        raise NoInputError(f"{printable(folder)} has no videos in it.", "Check the path.")
    return ClipSource(
        [printable(path.relative_to(folder)) for path in paths],
        False,
        lambda number: Clip(_first_frames(paths[number], frames)),
    )


def _first_frames(path: Path, frames: int) -> UInt8[Tensor, "t 3 h w"]:
    with open_clip(path) as reader:
        chunk = next(reader.chunks(frames))
    return torch.from_numpy(np.ascontiguousarray(chunk.frames)).permute(0, 3, 1, 2).contiguous()
