from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

Discs = Callable[..., tuple[Tensor, np.ndarray]]


@pytest.fixture(scope="session")
def discs() -> Discs:
    """Make clips of bright discs that drift over a dark ground, with their true labels.

    The first colour channel alone tells disc (above 128) from ground.
    """

    def make(
        clips: int, *, t: int = 6, size: int = 64, count: int = 5, radius: int = 6, seed: int = 0
    ) -> tuple[Tensor, np.ndarray]:
        rng = np.random.default_rng(seed)
        rows, columns = np.mgrid[:size, :size]
        frames = np.full((clips, t, 3, size, size), 30, np.uint8)
        labels = np.zeros((clips, t, size, size), np.uint8)
        for clip in range(clips):
            for disc in range(1, count + 1):
                colour = (*rng.integers(200, 256, 1), *rng.integers(0, 256, 2))
                place, speed = rng.uniform(0, size, 2), rng.uniform(-1.5, 1.5, 2)
                for time in range(t):
                    y, x = place + time * speed
                    inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
                    labels[clip, time][inside] = disc
                    frames[clip, time][:, inside] = np.array(colour)[:, None]
        return torch.from_numpy(frames), labels

    return make
