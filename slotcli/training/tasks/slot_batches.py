"""Batches of a slot model: windows of clips, with motion and instance labels where needed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from slotcli.data.dataset import Dataset
from slotcli.data.datasets import open_dataset
from slotcli.data.windows import Window, draw_windows
from slotcli.errors import ConfigError
from slotcli.spec import SlotModelSpec, SlotTrainSpec
from slotcli.training.auxiliary.motion import motion
from slotcli.training.parallel.peers import Part
from slotcli.types import Clip

_MOTION_SPAN = 24  # frames; in over half of them an object should uncover its background


@dataclass(frozen=True)
class SlotBatch:
    """Windows, their frames, and where needed their motion and their instance labels."""

    windows: Sequence[Window]
    frames: UInt8[Tensor, "b t 3 h w"]
    moving: Float[Tensor, "b t h w"] | None
    labels: UInt8[Tensor, "b t h w"] | None


class SlotBatches:
    """Makes the batch of a step and part, as a function of these and the options alone.

    Of several data sets, which have the same clips at different sizes, a step takes one at random.
    Raises ConfigError where masks are to be learnt from and the data has none.
    """

    def __init__(self, options: SlotTrainSpec, data: Sequence[Dataset]) -> None:
        if options.mask_weight and not all(each.labelled for each in data):
            raise ConfigError(
                "train.mask_weight: this data has no instance masks.",
                "Use data that has them, or set train.mask_weight to 0.",
            )
        self._options = options
        self._data = data

    def __call__(self, step: int, part: Part) -> SlotBatch:
        options = self._options
        # Its own generator, so that the windows of a run do not depend on the number of sizes.
        size = int(np.random.default_rng((options.seed, step, 1)).integers(len(self._data)))
        data = self._data[size]
        batch = draw_windows(
            data,
            seed=options.seed,
            step=step,
            batch_size=options.batch_size,
            length=options.clip_length,
            stride=options.clip_stride,
            flip=options.flip,
        )
        windows = part.of(batch)
        clips = [self._clip(data, window) for window in windows]
        moving = labels = None
        if options.grouping_weight and options.grouping_by == "motion":
            moving = torch.stack([self._motion(data, window) for window in windows])
        if options.mask_weight:
            labels = torch.stack([clip.labels for clip in clips if clip.labels is not None])
        return SlotBatch(windows, torch.stack([clip.frames for clip in clips]), moving, labels)

    def _clip(self, data: Dataset, window: Window) -> Clip:
        options = self._options
        clip = data.clip(window.index, window.start, options.clip_length, options.clip_stride)
        if not window.flip:
            return clip
        labels = None if clip.labels is None else clip.labels.flip(-1)
        return Clip(clip.frames.flip(-1), labels)

    def _motion(self, data: Dataset, window: Window) -> Float[Tensor, "t h w"]:
        """The motion of a window's frames, computed with the frames around them in their clip."""
        length, stride = self._options.clip_length, self._options.clip_stride
        total, span = data.frames(window.index), (length - 1) * stride + 1
        around = min(total, max(span, _MOTION_SPAN))
        first = min(max(0, window.start - (around - span) // 2), total - around)
        moving = motion(data.clip(window.index, first, around).frames)
        own = moving[window.start - first :][:span:stride]
        return own.flip(-1) if window.flip else own


def open_batches(spec: SlotModelSpec) -> SlotBatches:
    """The batches of a definition, whose data is opened here at each of the training sizes."""
    sizes = spec.train.sizes or (spec.size,)
    return SlotBatches(spec.train, [open_dataset(spec.train.data, size) for size in sizes])
