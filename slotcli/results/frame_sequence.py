"""Arrays of a clip's frames that are read or computed when they are asked for."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, overload

import numpy as np

Rows = slice | list[int] | np.ndarray
Key = Any  # as NumPy's: whole numbers, slices, arrays, ..., or a tuple of them


class FrameSequence(ABC):
    """A uint8 array of shape `shape`, the first axis time, that is never in memory as a whole.

    It is indexed as a NumPy array is: `[t]` is one frame, `[a:b]` or `[[1, 5]]` are stacked frames,
    `[t, y, x]` parts of them; only the frames asked for are computed. `np.asarray` computes all.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    @abstractmethod
    def frame(self, t: int) -> np.ndarray:
        """The frame at row `t` of the clip, 0 <= t < len."""

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields the frames in order, one in memory at a time."""
        return map(self.frame, range(len(self)))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array, which are not in memory."""
        return self.size * self.dtype.itemsize

    @overload
    def __getitem__(self, key: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, key: Rows) -> np.ndarray: ...
    @overload
    def __getitem__(self, key: Key) -> np.ndarray: ...
    def __getitem__(self, key: Key) -> np.ndarray:
        """Frames, or parts of them, as NumPy indexes; raises IndexError beyond the clip."""
        rows, rest = self._split(key)
        chosen = np.arange(len(self))[rows]  # raises the IndexError of an array
        if chosen.ndim == 0:
            return self.frame(int(chosen))[rest]
        frames = [self.frame(int(t))[rest] for t in chosen.tolist()]
        if frames:
            return np.stack(frames)
        return np.empty((0, *np.empty(self.shape[1:], self.dtype)[rest].shape), self.dtype)

    def _split(self, key: Key) -> tuple[Any, tuple[Any, ...]]:
        """The index of the first axis, and those of a frame."""
        keys = key if isinstance(key, tuple) else (key,)
        given = [number for number, own in enumerate(keys) if own is Ellipsis]
        if given:
            (at,) = given
            whole = (slice(None),) * (self.ndim - len(keys) + 1)
            keys = (*keys[:at], *whole, *keys[at + 1 :])
        if any(own is None for own in keys):
            raise IndexError("new axes are for arrays: use np.asarray first")
        rows: Any = keys[0] if keys else slice(None)
        if np.ndim(rows) > 1:
            raise IndexError("frames are chosen by a number, a slice, or a list of numbers")
        return rows, tuple(keys[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("frames are computed: an array of them is always a copy")
        return np.stack(list(self)).astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' x '.join(map(str, self.shape))}, uint8, read lazily>"
