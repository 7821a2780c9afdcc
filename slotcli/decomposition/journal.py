"""The model's output for a clip, saved chunk by chunk, so that a stopped run can resume.

A folder of slot files, one per chunk. Each is written whole or not at all, and carries its hashes:
the chunk that a killed process was writing is lost, and nothing before it.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32
from safetensors import safe_open
from torch import Tensor

from slotcli.errors import DataError
from slotcli.files.writing import output_errors
from slotcli.tracks.slot_file import (
    DTYPES,
    SECTIONS,
    SlotFile,
    TensorSource,
    assemble,
    read_slot_file,
    write_slot_file,
)
from slotcli.types import FrameChunk

_TIMES = ("duration", "frame_index", "pts")
# A slot file has the crop of its clip; a chunk's never leaves the journal.
_TRANSFORM = {"source_size": [1, 1], "crop": [0, 0, 1, 1], "model_size": [1, 1]}


class Journal:
    """A clip's slots, attention and timing, chunk by chunk, in memory that does not grow with it.

    `key` identifies everything that the output depends on; chunks of another key in `folder` are
    dropped, those of the same key are continued: `replay` returns them before any is appended.
    `remarks` say why a stopped run's work was dropped. Raises as `output_errors`.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.frames = 0
        self.remarks: list[str] = []
        self._folder = folder
        self._metadata: dict[str, Any] = {section: {} for section in SECTIONS}
        self._metadata |= {"transform": _TRANSFORM, "run": {"key": key}}
        self._chunks: list[Path] = []
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._replaying = True
        with output_errors(folder):
            if folder.is_file():  # the layout of earlier versions, whose key is another anyway
                folder.unlink()
                self._say_dropped("was of a version that kept its work in another layout")
            folder.mkdir(exist_ok=True)

    def replay(
        self, chunk: FrameChunk
    ) -> tuple[Float32[np.ndarray, "t n d"], Float16[np.ndarray, "t n h w"], np.ndarray] | None:
        """Slots, attention and flags of a chunk from an earlier run; None if it is not there.

        Where the next chunk is damaged, or of another key or other frames, it and all later ones
        are dropped.
        """
        path = self._next_path()
        if not self._replaying or not path.exists():
            self._end_replay()
            return None
        saved = _read(path)
        if saved is None:
            self._say_dropped(f"left a damaged file ({path.name})")
        elif saved.metadata != self._metadata:
            self._say_dropped(
                "had other weights or options, or another device, number of threads or version"
            )
        elif not all(np.array_equal(getattr(saved, t), getattr(chunk, t)) for t in _TIMES):
            self._say_dropped("read other frames")
        else:
            arrays = {name: getattr(saved, name) for name in DTYPES}
            shapes = {name: array.shape[1:] for name, array in arrays.items() if array is not None}
            self._add(path, shapes, len(chunk))
            return saved.slots, saved.attention, saved.flags
        self._end_replay()
        return None

    def append(
        self,
        slots: Float32[Tensor, "t n d"],
        attention: Float16[Tensor, "t n h w"],
        chunk: FrameChunk,
        appearance: Float16[Tensor, "t n c"] | None = None,
    ) -> None:
        """Adds the frames of one chunk; they outlive the process once this returns.

        Chunks that were not replayed are dropped. Raises NumericError naming the first frame with
        NaN or infinity, DataError where the shapes differ from the chunk's or from earlier
        chunks', OutputError and its kin.
        """
        self._end_replay()
        rows = {"slots": slots.numpy(), "attention": attention.numpy()}
        rows |= {name: getattr(chunk, name) for name in (*_TIMES, "flags")}
        if appearance is not None:
            rows["appearance"] = appearance.numpy()
        shapes = {name: rows[name].shape[1:] for name in DTYPES if name in rows}
        if (self._chunks and shapes != self._shapes) or any(
            len(array) != len(chunk) for array in rows.values()
        ):
            raise DataError(
                f"A chunk of {len(chunk)} frames came with slots {rows['slots'].shape} and "
                f"attention {rows['attention'].shape}, after rows of {self._shapes}.",
                "Every chunk of a clip must have the same number, width and grid of slots.",
            )
        path = self._next_path()
        write_slot_file(path, SlotFile(**rows, metadata=self._metadata))
        self._add(path, shapes, len(chunk))

    def finish(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Writes the slot file of all frames; `metadata` as in `SlotFile`.

        Raises DataError where there are no frames, OutputError and its kin.
        """
        if self.frames == 0:
            raise DataError("The clip has no frames.", "Give a source with frames.")
        tensors: dict[str, TensorSource] = {}
        for name, shape in self._shapes.items():
            hasher = hashlib.sha256()
            for block in self._blocks(name):
                hasher.update(block)
            shape = (self.frames, *shape)
            tensors[name] = TensorSource(shape, hasher.hexdigest(), self._blocks(name))
        assemble(path, tensors, metadata)

    def _say_dropped(self, reason: str) -> None:
        self.remarks.append(
            f"An earlier run, which was stopped, {reason}: frames from {self.frames} on were "
            "computed again."
        )

    def _next_path(self) -> Path:
        return self._folder / f"{len(self._chunks):08d}"

    def _add(self, path: Path, shapes: dict[str, tuple[int, ...]], frames: int) -> None:
        self._chunks.append(path)
        self._shapes = shapes  # of a frame's tensors, in the order of a slot file
        self.frames += frames

    def _end_replay(self) -> None:
        if self._replaying:
            self._replaying = False
            with output_errors(self._folder):
                for path in set(self._folder.iterdir()) - set(self._chunks):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _blocks(self, name: str) -> Iterator[bytes]:
        """One tensor's bytes, from all chunks."""
        for path in self._chunks:
            with output_errors(path), safe_open(path, framework="numpy") as file:
                yield file.get_tensor(name).tobytes()


def _read(path: Path) -> SlotFile | None:
    """A chunk's file; None if it is not whole."""
    try:
        return read_slot_file(path)
    except DataError:
        return None
