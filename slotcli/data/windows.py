"""The windows in the batch of a step: a function of seed and step alone."""

from dataclasses import dataclass

import numpy as np

from slotcli.data.dataset import Dataset
from slotcli.errors import ConfigError


@dataclass(frozen=True)
class Window:
    """A segment of a clip, mirrored left to right if `flip` is set."""

    index: int
    start: int
    flip: bool


def draw_windows(
    dataset: Dataset,
    *,
    seed: int,
    step: int,
    batch_size: int,
    length: int,
    stride: int,
    flip: bool,
) -> list[Window]:
    """The windows of one step, sampled with replacement; the same at every call.

    Raises ConfigError where a hundred samples find no clip that is long enough.
    """
    random = np.random.default_rng((seed, step))
    span = (length - 1) * stride + 1
    windows: list[Window] = []
    for _ in range(100 * batch_size):
        index = int(random.integers(len(dataset)))
        room = dataset.frames(index) - span
        if room < 0:
            continue
        mirrored = flip and bool(random.integers(2))
        windows.append(Window(index, int(random.integers(room + 1)), mirrored))
        if len(windows) == batch_size:
            return windows
    raise ConfigError(
        f"train.clip_length: clips of {span} frames are too rare in this data.",
        "Choose a shorter clip_length or clip_stride.",
    )
