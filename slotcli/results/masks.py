"""The masks of a result, frame by frame, in any order."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from slotcli.errors import DataError, NoInputError, printable
from slotcli.results.frame_sequence import FrameSequence
from slotcli.results.reconstruct import recorded_labelling
from slotcli.results.source_frames import SourceFrames
from slotcli.tracks.masks import read_mask
from slotcli.tracks.slot_file import SlotFile

Labels = UInt8[np.ndarray, "h w"]


class Masks(FrameSequence):
    """The labels of a result, uint8 [t, h, w] at the source's size.

    A pixel has the ID of its object: slot + 1, 0 for the background, 255 outside of the crop. Those
    that follow the clip's edges are read from the result's masks/ if that is complete, else
    computed from the clip.
    """

    def __init__(
        self, slot_file: SlotFile, saved: Path, open_frames: Callable[[], SourceFrames]
    ) -> None:
        super().__init__((len(slot_file.pts), *slot_file.transform.source_size))
        self._slot_file = slot_file
        self._labelling = recorded_labelling(slot_file)
        self._saved, self._open_frames = saved, open_frames

    def frame(self, t: int) -> Labels:
        """Labels of row `t`. Raises NoInputError where they need a clip that is gone."""
        if self._has_files:
            return self._read(self._saved / f"{t:05d}.png")
        frame = self._frames.frame(t) if self._labelling.needs_frames else None
        return self._labelling.labels(self._slot_file.attention[t], frame)

    @cached_property
    def _has_files(self) -> bool:
        """Whether to read masks/, as `decompose --masks png` writes it."""
        return self._labelling.needs_frames and all(
            (self._saved / f"{t:05d}.png").is_file() for t in range(len(self))
        )

    @cached_property
    def _frames(self) -> SourceFrames:
        try:
            return self._open_frames()
        except NoInputError as error:
            raise NoInputError(
                f"These masks follow the edges of the clip. {error.what}", error.advice
            ) from error

    def _read(self, path: Path) -> Labels:
        labels = read_mask(path)
        if labels.shape != self.shape[1:]:
            raise DataError(
                f"{printable(path)} has the size of another clip.", "Export the masks again."
            )
        return labels
