"""Rendered scenes in a folder, for all processes of a run and for later runs."""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from slotcli.errors import CannotCreateError, printable
from slotcli.types import Clip, Size

_VERSION = 1  # to be raised with every change of the scenes rendered from a seed


class Scene(NamedTuple):
    """The parameters that determine every pixel of a rendered clip."""

    tier: str
    seed: int
    frames: int
    size: Size


class SceneCache:
    """One file per scene: an array of four channels, RGB and the labels.

    Processes that render the same scene concurrently write the same file; the last one stays.
    Raises CannotCreateError where it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, scene: Scene) -> bool:
        return self._path(scene).is_file()

    def put(self, scene: Scene, clip: Clip) -> None:
        assert clip.labels is not None
        path = self._path(scene)
        partial = path.with_suffix(f".{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.save(file, torch.cat([clip.frames, clip.labels[:, None]], dim=1).numpy())
            os.replace(partial, path)
        except OSError as error:
            with suppress(OSError):  # the first error is the one to report
                partial.unlink()
            raise CannotCreateError(
                f"{printable(path)} cannot be written: {error.strerror}.",
                "Choose another folder for the cache of rendered scenes.",
            ) from error

    def cut_window(self, scene: Scene, start: int, length: int, stride: int) -> Clip:
        """`length` frames of a scene that exists, every `stride`-th from `start`."""
        mapped = np.load(self._path(scene), mmap_mode="r", allow_pickle=False)
        end = start + (length - 1) * stride + 1
        both = torch.from_numpy(mapped[start:end:stride].copy())
        return Clip(both[:, :3], both[:, 3])

    def _path(self, scene: Scene) -> Path:
        height, width = scene.size
        name = f"{scene.tier}-{scene.seed}-{scene.frames}-{height}x{width}-{_VERSION}.npy"
        return self._folder / name
