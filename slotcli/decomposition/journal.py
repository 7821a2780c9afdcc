"""The model's output for a clip, saved chunk by chunk, so that a stopped run can resume.

One file of records, one per chunk: each is a head (magic, number of frames, shapes), the tensors'
rows, and a SHA-256 over both. A truncated or damaged record ends the journal: the record that a
killed process was writing is lost, and nothing before it.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float16, Float32
from torch import Tensor

from slotcli.errors import DataError
from slotcli.files.writing import output_errors
from slotcli.tracks.slot_file import (
    BLOCK_BYTES,
    DTYPES,
    OPTIONAL,
    TensorSource,
    assemble,
    require_finite,
)
from slotcli.types import FrameChunk

_MAGIC = b"SLOT"
_HEAD = struct.Struct("<4sI")
_TIMING = ("duration", "frame_index", "pts", "flags")
_HASH_BYTES = hashlib.sha256().digest_size


class Journal:
    """A clip's slots, attention and timing, chunk by chunk, in memory that does not grow with it.

    `key` identifies everything that the output depends on; a journal of another key at `path` is
    overwritten, one of the same key is continued: `replay` returns its chunks before any is
    appended. Used as a context manager, which closes the file and keeps it. Raises as
    `output_errors`.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.frames = 0
        self._records: list[tuple[int, int]] = []  # offset of the rows, number of frames
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._next = 0  # index of the record that `replay` returns next
        with output_errors(path):
            self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b")
            try:
                if not self._continue(key):
                    self._begin(key)
            except BaseException:
                self._close()
                raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    @property
    def replayed(self) -> bool:
        """Whether every record present at opening has been replayed."""
        return self._next >= len(self._records)

    def replay(
        self, chunk: FrameChunk
    ) -> tuple[Float32[np.ndarray, "t n d"], Float16[np.ndarray, "t n h w"], np.ndarray] | None:
        """Slots, attention and flags of a chunk from an earlier run; None if it is not there.

        Where the next record is of other frames, it and all later records are dropped.
        """
        if self.replayed:
            return None
        rows = self._read(self._next)
        times = ("duration", "frame_index", "pts")
        if not all(np.array_equal(rows[name], getattr(chunk, name)) for name in times):
            self._forget_from(self._next)
            return None
        self._next += 1
        return rows["slots"], rows["attention"], rows["flags"]

    def append(
        self,
        slots: Float32[Tensor, "t n d"],
        attention: Float16[Tensor, "t n h w"],
        chunk: FrameChunk,
        appearance: Float16[Tensor, "t n c"] | None = None,
    ) -> None:
        """Adds the frames of one chunk; they outlive the process once this returns.

        Raises NumericError naming the first frame with NaN or infinity, DataError where the shapes
        differ from the chunk's or from earlier chunks', OutputError and its kin.
        """
        arrays = {"slots": slots.numpy(), "attention": attention.numpy()}
        if appearance is not None:
            arrays[OPTIONAL] = appearance.numpy()
        for name, array in arrays.items():
            require_finite(array, chunk.frame_index, name)
        arrays |= {name: getattr(chunk, name) for name in _TIMING}
        shapes = {name: array.shape[1:] for name, array in arrays.items()}
        if not self.replayed:
            raise ValueError("a journal has to be replayed before it is continued")
        if (self._records and shapes != self._shapes) or any(
            len(array) != len(chunk) for array in arrays.values()
        ):
            raise DataError(
                f"A chunk of {len(chunk)} frames came with slots {arrays['slots'].shape} and "
                f"attention {arrays['attention'].shape}, after rows of {self._shapes}.",
                "Every chunk of a clip must have the same number, width and grid of slots.",
            )
        self._shapes = shapes
        head = _HEAD.pack(_MAGIC, len(chunk)) + _packed_shapes(shapes)
        rows = b"".join(
            np.ascontiguousarray(arrays[name], dtype=dtype).tobytes()
            for name, dtype in DTYPES.items()
            if name in arrays
        )
        digest = hashlib.sha256(head + rows).digest()
        with output_errors(self.path):
            offset = self._file.seek(0, os.SEEK_END)
            self._file.write(head + rows + digest)
            self._file.flush()
            os.fsync(self._file.fileno())
        self._add_record(offset + len(head), len(chunk))
        self._next = len(self._records)

    def last_slots(self) -> Float32[np.ndarray, "n d"] | None:
        """The slots of the last frame replayed or appended: all that the next one depends on."""
        return None if self._next == 0 else self._read(self._next - 1)["slots"][-1]

    def finish(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Writes the slot file of all frames; `metadata` as in `SlotFile`.

        Raises DataError where there are no frames, OutputError and its kin.
        """
        if self.frames == 0:
            raise DataError("The clip has no frames.", "Give a source with frames.")
        tensors = {
            name: TensorSource(
                (self.frames, *self._shapes[name]),
                self._digest(name),
                self._blocks(name),
            )
            for name in self._names
        }
        assemble(path, tensors, metadata)

    @property
    def _names(self) -> list[str]:
        """The names of the stored tensors, in the order of their rows."""
        return [name for name in DTYPES if name in self._shapes]

    def _close(self) -> None:
        # Every record was flushed; a buffer that a full disk leaves is of the record that failed.
        with suppress(OSError):
            self._file.close()

    def _begin(self, key: str) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._file.write(_first_line(key))
        self._file.flush()

    def _continue(self, key: str) -> bool:
        """Finds the records of a journal of the same key, and truncates it after the last whole
        one.
        """
        if self._file.readline(BLOCK_BYTES) != _first_line(key):
            return False
        end = self._file.tell()
        while (found := self._next_record(end)) is not None:
            offset, frames, end = found
            self._add_record(offset, frames)
        self._file.truncate(end)
        return True

    def _next_record(self, start: int) -> tuple[int, int, int] | None:
        """Offset of the rows, number of frames and end of the whole record at `start`, or None."""
        self._file.seek(start)
        head = self._file.read(_HEAD.size + _SHAPES.size)
        if len(head) < _HEAD.size + _SHAPES.size:
            return None
        magic, frames = _HEAD.unpack_from(head)
        shapes = _unpacked_shapes(head[_HEAD.size :])
        if magic != _MAGIC or frames == 0 or (self._records and shapes != self._shapes):
            return None
        size = frames * sum(_row_bytes(shapes, name) for name in shapes)
        hasher = hashlib.sha256(head)
        if start + len(head) + size + _HASH_BYTES > os.fstat(self._file.fileno()).st_size:
            return None
        for block in _blocks(self._file, size):
            hasher.update(block)
        if self._file.read(_HASH_BYTES) != hasher.digest():
            return None
        self._shapes = shapes
        return start + len(head), frames, self._file.tell()

    def _add_record(self, offset: int, frames: int) -> None:
        self._records.append((offset, frames))
        self.frames += frames

    def _forget_from(self, record: int) -> None:
        head = _HEAD.size + _SHAPES.size
        with output_errors(self.path):
            self._file.truncate(self._records[record][0] - head)
        del self._records[record:]
        self.frames = sum(frames for _, frames in self._records)

    def _read(self, record: int) -> dict[str, np.ndarray]:
        offset, frames = self._records[record]
        rows = {}
        with output_errors(self.path):
            self._file.seek(offset)
            for name in self._names:
                data = self._file.read(frames * _row_bytes(self._shapes, name))
                # From a bytearray, because torch warns of arrays that are not writable.
                rows[name] = np.frombuffer(bytearray(data), DTYPES[name]).reshape(
                    frames, *self._shapes[name]
                )
        return rows

    def _blocks(self, name: str) -> Iterator[bytes]:
        """One tensor's bytes, from all records."""
        before = self._names[: self._names.index(name)]
        for offset, frames in self._records:
            skipped = frames * sum(_row_bytes(self._shapes, other) for other in before)
            self._file.seek(offset + skipped)
            yield self._file.read(frames * _row_bytes(self._shapes, name))

    def _digest(self, name: str) -> str:
        hasher = hashlib.sha256()
        for block in self._blocks(name):
            hasher.update(block)
        return hasher.hexdigest()


# n, d, height and width of the grid, and c or 0, which determine the shapes of all rows
_SHAPES = struct.Struct("<IIIII")


def _first_line(key: str) -> bytes:
    return json.dumps({"key": key}).encode() + b"\n"


def _packed_shapes(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    (n, d), (_, height, width) = shapes["slots"], shapes["attention"]
    return _SHAPES.pack(n, d, height, width, shapes.get(OPTIONAL, (n, 0))[1])


def _unpacked_shapes(data: bytes) -> dict[str, tuple[int, ...]]:
    n, d, height, width, appearance = _SHAPES.unpack(data)
    shapes = dict.fromkeys(_TIMING, ()) | {"slots": (n, d), "attention": (n, height, width)}
    return shapes | ({OPTIONAL: (n, appearance)} if appearance else {})


def _row_bytes(shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    size = DTYPES[name].itemsize
    for side in shapes[name]:
        size *= side
    return size


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (block := file.read(min(size, BLOCK_BYTES))):
        size -= len(block)
        yield block
