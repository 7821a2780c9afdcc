"""Clips that stand outside of training, to look at a model as it learns."""

import torch

from slotcli.data.datasets import VALIDATION_SEEDS, Dataset, SynthDataset
from slotcli.data.scenes import render_clip
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
        rendered = [
            render_clip(VALIDATION_SEEDS + index, data.tier(index), frames, size)
            for index in range(clips)
        ]
        labels = [clip.labels for clip in rendered if clip.labels is not None]
        return ClipBatch(torch.stack([clip.frames for clip in rendered]), torch.stack(labels))
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
