"""Detects the background slots of a clip, for models without a learned background slot."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

# Conditions on slots that join the one with most of the border, or replace it.
_BORDER = 0.15  # fraction of all border positions
_AREA = 0.1  # fraction of all positions
_STILL = 0.6  # IoU of the positions in the first and the last frame
_SIDES = 2  # sides of the frame that it touches
_SOME = 0.1  # fraction of a side's positions that counts as touching


class BackgroundVote:
    """Counts, chunk by chunk, the positions of each slot on the encoder's grid and its border."""

    def __init__(self, num_slots: int) -> None:
        self._border = np.zeros(num_slots, np.int64)
        self._sides = np.zeros((4, num_slots), np.int64)
        self._area = np.zeros(num_slots, np.int64)
        self._first: Int64[np.ndarray, "h w"] | None = None
        self._last: Int64[np.ndarray, "h w"] | None = None

    def add(self, attention: Float[Tensor, "t n h w"] | Float[np.ndarray, "t n h w"]) -> None:
        """Count every position of every frame for its slot of greatest attention."""
        winners = torch.as_tensor(attention).half().float().argmax(dim=1).cpu().numpy()
        border = np.ones(winners.shape[1:], dtype=bool)
        border[1:-1, 1:-1] = False
        self._border += self._counts(winners[:, border])
        self._area += self._counts(winners)
        edges = (winners[:, 0], winners[:, -1], winners[:, :, 0], winners[:, :, -1])
        self._sides += np.stack([self._counts(edge) for edge in edges])
        self._first = winners[0] if self._first is None else self._first
        self._last = winners[-1]

    def background(self) -> tuple[int, ...]:
        """The slot with more than half of the border, and other certain background slots.

        These cover parts of the frame and of its border, on at least two sides, and are static. If
        no slot has more than half of the border, they have to have it together. Empty if no slot is
        certain.
        """
        total = self._border.sum()
        sure = (
            (self._border >= _BORDER * total)
            & (self._area >= _AREA * self._area.sum())
            & ((self._sides >= _SOME * self._sides.sum(1, keepdims=True)).sum(0) >= _SIDES)
            & self._still()
        )
        leads = 2 * self._border > total
        joined = leads | sure
        return (
            tuple(np.flatnonzero(joined).tolist()) if 2 * self._border[joined].sum() > total else ()
        )

    def _counts(self, winners: np.ndarray) -> Int64[np.ndarray, " n"]:
        return np.bincount(winners.ravel(), minlength=len(self._border))

    def _still(self) -> Bool[np.ndarray, " n"]:
        if self._first is None or self._last is None:
            return np.zeros(len(self._border), bool)
        first, last = self._counts(self._first), self._counts(self._last)
        both = self._counts(self._first[self._first == self._last])
        return both >= _STILL * (first + last - both)
