"""Clips that stand outside of training, to look at a model as it learns."""

import torch

from slotcli.data.datasets import VALIDATION_SEEDS, Dataset, SynthDataset
from slotcli.data.scenes import render_clips
from slotcli.spec import DataSpec, SynthSpec
from slotcli.types import ClipBatch, Size


def held_out_clips(
    data: Dataset, spec: DataSpec, size: Size, *, clips: int = 64, frames: int = 6
) -> ClipBatch:
    """Unrelated clips in the proportions of the training data, with labels where these exist.

    Scenes come from seeds of their own. A folder has only itself: its clips' middles are taken, fit
    for label-free figures alone, and fewer or shorter where it has no more.
    """
    if isinstance(spec, SynthSpec) and isinstance(data, SynthDataset):
        return _scenes([data.tier(index) for index in range(clips)], frames, size)
    chosen = range(min(clips, len(data)))
    length = min(frames, *(data.frames(index) for index in chosen), frames)
    return ClipBatch(
        torch.stack(
            [
                data.clip(index, (data.frames(index) - length) // 2, length).frames
                for index in chosen
            ]
        )
    )


def _scenes(tiers: list[str], frames: int, size: Size) -> ClipBatch:
    """A scene of each tier in turn, of seeds one after the other."""
    every = torch.empty(len(tiers), frames, 3, *size, dtype=torch.uint8)
    labels = torch.empty(len(tiers), frames, *size, dtype=torch.uint8)
    for tier in dict.fromkeys(tiers):
        # A tier's scenes together: their physics costs hardly more than one scene's.
        places = [place for place, other in enumerate(tiers) if other == tier]
        batch = render_clips([VALIDATION_SEEDS + place for place in places], tier, frames, size)
        assert batch.labels is not None
        every[places], labels[places] = batch.frames, batch.labels
    return ClipBatch(every, labels)
