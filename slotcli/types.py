"""The data types that all packages share.

Axis letters, everywhere: b batch, t time, n slots, p positions, d width, c channels, h w height and
width. A `size` is always (height, width). `attention` is on the encoder's grid of positions,
`masks` and `labels` are on pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

Size = tuple[int, int]

# Bits of a frame's flags.
FLAG_CORRUPT = 1  # the decoder reported that the frame is damaged
FLAG_TIMING_REPAIRED = 2  # its timestamp was missing or not increasing, and is an estimate
FLAG_FORMAT_CHANGED = 4  # its size or pixel format differs from the first frame's
FLAG_RESET = 8  # slots were initialised again here, and matched to the previous ones

OUTSIDE = 255  # label of a pixel that no slot covers (outside the crop)


@dataclass(frozen=True)
class FrameChunk:
    """Consecutive decoded frames of one source, upright, with square pixels, full range RGB."""

    frames: UInt8[np.ndarray, "t h w 3"]
    pts: Int64[np.ndarray, " t"]  # in ticks of the source's time base, strictly increasing
    duration: Int64[np.ndarray, " t"]  # in the same ticks, at least 1
    frame_index: Int64[np.ndarray, " t"]  # position in the source, counting every decoded frame
    flags: UInt8[np.ndarray, " t"]

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class Clip:
    """Frames for a model to learn from, with ground truth labels where a data set has them."""

    frames: UInt8[Tensor, "t 3 h w"]
    # 0 is background, 1.. are instances, 255 is ignored
    labels: UInt8[Tensor, "t h w"] | None = None


@dataclass(frozen=True)
class ClipBatch:
    """A batch of clips of one length and size."""

    frames: UInt8[Tensor, "b t 3 h w"]
    labels: UInt8[Tensor, "b t h w"] | None = None


EXTENT = 4  # numbers: centre (y, x) and reach (y, x) of a colour grid, as fractions of the frame


@dataclass(frozen=True)
class SlotTrack:
    """The encoder's output for clips: one vector per slot and frame, and its attention.

    `attention` is the softmax over slots of the last iteration, before it is renormalised over
    positions: at each position it sums to 1 over n.
    """

    slots: Float[Tensor, "b t n d"]
    attention: Float[Tensor, "b t n h w"]
    appearance: Float[Tensor, "b t n c"] | None = None
    """As in `Layout`, if the model's decoder reads it."""
    features: Float[Tensor, "b t c i j"] | None = None
    """In training: the backbone's features, if a decoder learns to reconstruct them."""
    keys: Float[Tensor, "b t c i j"] | None = None
    """In training: the keys of the backbone's last block, if it gives them."""

    @staticmethod
    def concatenate(chunks: Sequence["SlotTrack"]) -> "SlotTrack":
        """Clips concatenated in time from the chunks in which they were encoded."""
        appearance = [own.appearance for own in chunks if own.appearance is not None]
        return SlotTrack(
            torch.cat([own.slots for own in chunks], dim=1),
            torch.cat([own.attention for own in chunks], dim=1),
            torch.cat(appearance, dim=1) if appearance else None,
        )

    def frame(self, number: int) -> "SlotTrack":
        """One frame of the clips."""
        rows, appearance = slice(number, number + 1), self.appearance
        return SlotTrack(
            self.slots[:, rows],
            self.attention[:, rows],
            None if appearance is None else appearance[:, rows],
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> "SlotTrack":
        """The same on a device, at another dtype."""
        appearance = self.appearance
        return SlotTrack(
            self.slots.to(device, dtype),
            self.attention.to(device, dtype),
            None if appearance is None else appearance.to(device, dtype),
        )

    def of_clips(self, rows: Tensor) -> "SlotTrack":
        """Some of the clips."""
        appearance = self.appearance
        return SlotTrack(
            self.slots[rows], self.attention[rows], None if appearance is None else appearance[rows]
        )

    @property
    def layout(self) -> "Layout":
        """Attention and appearance of every frame separately, as decoders take them."""
        appearance = self.appearance
        return Layout(
            self.attention.flatten(0, 1), None if appearance is None else appearance.flatten(0, 1)
        )


@dataclass(frozen=True)
class Layout:
    """The inputs that a decoder may read of frames besides slots: attention and appearance.

    `appearance` are means under a slot's attention, of the backbone's features and then of the
    three colours in [-1, 1]; and last, of models that keep them, grids of colours and their
    extents.
    """

    attention: Float[Tensor, "b n h w"]
    appearance: Float[Tensor, "b n c"] | None = None

    def to(self, device: torch.device) -> "Layout":
        """The same on a device."""
        appearance = self.appearance
        return Layout(
            self.attention.to(device), None if appearance is None else appearance.to(device)
        )

    def __getitem__(self, rows: slice | Tensor) -> "Layout":
        """Some of the frames."""
        appearance = self.appearance
        return Layout(self.attention[rows], None if appearance is None else appearance[rows])
