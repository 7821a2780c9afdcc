"""Clips outside of the training data, to evaluate a model during training."""

from pathlib import Path

import torch

from slotcli.data.dataset import Dataset
from slotcli.data.datasets import open_public
from slotcli.data.mixture import Mixture
from slotcli.data.rendered import SynthDataset
from slotcli.data.sprites import Sprites
from slotcli.scenes import Rendered, render_clips
from slotcli.scenes.seeds import VALIDATION_SEEDS
from slotcli.spec import DataSpec, MixtureSpec, PublicSpec, SpritesSpec, SynthSpec
from slotcli.types import ClipBatch, Size

FRAMES = 6  # of a held-out clip


def validation_data(data: Dataset, spec: DataSpec, size: Size) -> Dataset:
    """The data set of clips that training on `data` does not use.

    Of a published data set its validation split, of sprites those of held-out objects and
    photographs: raises NoSplitError and its kin where these are missing. Of a mixture, the mixture
    of its parts' validation data. Anything else is returned itself.
    """
    if isinstance(spec, SpritesSpec):
        return Sprites(spec, size, held_out=True)
    if isinstance(spec, MixtureSpec) and isinstance(data, Mixture):
        held_out = [
            validation_data(part, each.data, size)
            for part, each in zip(data.parts, spec.parts, strict=True)
        ]
        return Mixture(held_out, [each.share for each in spec.parts])
    if not isinstance(spec, PublicSpec):
        return data
    return open_public(spec.kind, Path(spec.path), "validation", size)


def held_out_clips(
    data: Dataset,
    spec: DataSpec,
    size: Size,
    *,
    clips: int = 64,
    frames: int = FRAMES,
    rendered: Rendered | None = None,
) -> ClipBatch:
    """Unrelated clips in the proportions of the training data, with labels where these exist.

    Scenes come from seeds of their own. Of any other data, preferably that of `validation_data`,
    the middles of clips are used; fewer or shorter ones where it has no more.
    """
    if isinstance(spec, SynthSpec) and isinstance(data, SynthDataset):
        return _scenes([data.tier(index) for index in range(clips)], frames, size, rendered)
    if isinstance(spec, MixtureSpec) and isinstance(data, Mixture):
        return _of_parts(data, spec, clips, frames, size, rendered)
    chosen = range(min(clips, len(data)))
    lengths = [data.frames(index) for index in chosen]
    length = min(frames, *lengths, frames)
    middles = [
        data.clip(index, (total - length) // 2, length)
        for index, total in zip(chosen, lengths, strict=True)
    ]
    labels = [clip.labels for clip in middles if clip.labels is not None]
    return ClipBatch(
        torch.stack([clip.frames for clip in middles]),
        torch.stack(labels) if len(labels) == len(middles) else None,
    )


def _of_parts(
    data: Mixture,
    spec: MixtureSpec,
    clips: int,
    frames: int,
    size: Size,
    rendered: Rendered | None,
) -> ClipBatch:
    """Clips of each part in proportion to `share`, at the shortest part's length."""
    turns = [data.locate(index)[0] for index in range(clips)]
    batches = [
        held_out_clips(
            part, each.data, size, clips=turns.count(number), frames=frames, rendered=rendered
        )
        for number, (part, each) in enumerate(zip(data.parts, spec.parts, strict=True))
        if number in turns
    ]
    length = min(batch.frames.shape[1] for batch in batches)
    labels = [batch.labels[:, :length] for batch in batches if batch.labels is not None]
    return ClipBatch(
        torch.cat([batch.frames[:, :length] for batch in batches]),
        torch.cat(labels) if len(labels) == len(batches) else None,
    )


def _scenes(tiers: list[str], frames: int, size: Size, rendered: Rendered | None) -> ClipBatch:
    """One scene per tier in the list, with consecutive seeds."""
    every = torch.empty(len(tiers), frames, 3, *size, dtype=torch.uint8)
    labels = torch.empty(len(tiers), frames, *size, dtype=torch.uint8)
    before = 0

    def counted(done: int, total: int) -> None:
        if rendered is not None:
            rendered(before + done, len(tiers))

    for tier in dict.fromkeys(tiers):
        # A tier's scenes together: their physics costs hardly more than one scene's.
        rows = [row for row, other in enumerate(tiers) if other == tier]
        seeds = [VALIDATION_SEEDS + row for row in rows]
        batch = render_clips(seeds, tier, frames, size, rendered=counted)
        before += len(rows)
        assert batch.labels is not None
        every[rows], labels[rows] = batch.frames, batch.labels
    return ClipBatch(every, labels)
