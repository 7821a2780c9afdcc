"""A cache of decoded frames: the latest are kept in memory."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

import torch

from slotcli.types import Clip

CACHE_BYTES = 2 << 30

Key = TypeVar("Key", bound=Hashable)


class ClipCache(Generic[Key]):
    """An LRU cache of clips by key, limited to `bound` bytes; one clip is always kept."""

    def __init__(self, bound: int = CACHE_BYTES) -> None:
        self._bound = bound
        self._bytes = 0
        self._clips: OrderedDict[Key, Clip] = OrderedDict()

    def get(self, key: Key) -> Clip | None:
        """The clip of a key; None if it is not, or no longer, in the cache."""
        if key in self._clips:
            self._clips.move_to_end(key)
        return self._clips.get(key)

    def put(self, key: Key, clip: Clip) -> None:
        """Adds a clip under a new key."""
        self._clips[key] = clip
        self._bytes += _bytes(clip)
        while self._bytes > self._bound and len(self._clips) > 1:
            self._bytes -= _bytes(self._clips.popitem(last=False)[1])


def concatenate(clips: Sequence[Clip]) -> Clip:
    """Concatenates clips in time; with labels where all have them."""
    labels = [clip.labels for clip in clips if clip.labels is not None]
    frames = torch.cat([clip.frames for clip in clips])
    return Clip(frames, torch.cat(labels) if len(labels) == len(clips) else None)


def cut_window(clip: Clip, start: int, length: int, stride: int) -> Clip:
    """`length` frames of a clip, every `stride`-th from `start`."""
    end = start + (length - 1) * stride + 1
    labels = None if clip.labels is None else clip.labels[start:end:stride]
    return Clip(clip.frames[start:end:stride], labels)


def _bytes(clip: Clip) -> int:
    return clip.frames.nbytes + (0 if clip.labels is None else clip.labels.nbytes)
