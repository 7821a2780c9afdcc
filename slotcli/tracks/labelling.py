"""Labels of a clip's frames, according to the options of its masks."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, UInt8

from slotcli.tracks.guided import guided_winners
from slotcli.tracks.masks import labels_from_attention, labels_of_winners
from slotcli.tracks.pieces import Pieces
from slotcli.tracks.statistics import object_ids
from slotcli.tracks.transform import Transform
from slotcli.types import OUTSIDE

Edges = Literal["guided", "bilinear"]


@dataclass(frozen=True)
class Labelling:
    """`background` are the slots that have label 0; `edges` is how soft masks are upsampled."""

    transform: Transform
    background: tuple[int, ...] = ()
    edges: Edges = "bilinear"
    pieces: Pieces = field(default_factory=Pieces)

    @property
    def needs_frames(self) -> bool:
        """Whether labels depend on the pixels of the source."""
        return self.edges == "guided"

    def labels(
        self,
        attention: Float[np.ndarray, "n i j"],
        frame: UInt8[np.ndarray, "h w 3"] | None,
    ) -> UInt8[np.ndarray, "h w"]:
        """Labels of a frame at the source's size; `frame` is its RGB if `needs_frames`.

        The attention is rounded to float16, as in the slot file. Raises DataError for more than 254
        slots.
        """
        if self.edges == "bilinear":
            labels = labels_from_attention(attention[None], self.transform, self.background)[0]
            return self.pieces.tidied(labels)
        assert frame is not None
        top, left, height, width = self.transform.crop
        winners = guided_winners(
            attention.astype(np.float16).astype(np.float32),
            frame[top : top + height, left : left + width],
            self.transform.model_size,
        )
        labels = labels_of_winners(winners[None], len(attention), self.transform, self.background)[
            0
        ]
        return self.pieces.tidied(labels)

    def confidence(
        self, attention: Float[np.ndarray, "n i j"], labels: UInt8[np.ndarray, "h w"]
    ) -> Float64[np.ndarray, "256"]:
        """Mean soft mask of each label over its pixels, sampled at the nearest grid position.

        The mask of label 0 is the sum over the background slots. NaN for absent labels.
        """
        top, left, height, width = self.transform.crop
        inside = labels[top : top + height, left : left + width]
        _, rows, columns = attention.shape
        # Runs of one label in a row, cut where a column of the grid ends: 60 in a row of 2,000.
        down, across = np.arange(height) * rows // height, np.arange(width) * columns // width
        starts_run = np.ones((height, width), dtype=bool)
        np.not_equal(inside[:, 1:], inside[:, :-1], out=starts_run[:, 1:])
        starts_run[:, 1 + np.flatnonzero(np.diff(across))] = True
        start = np.flatnonzero(starts_run)
        length = np.diff(start, append=inside.size)
        y, x = np.divmod(start, width)
        label = inside[y, x]
        area = np.bincount(label, weights=length, minlength=OUTSIDE + 1)
        present = np.flatnonzero(area)
        # Pixels of each present label per cell of the grid; float64 counts them exactly.
        places = np.zeros(OUTSIDE + 1, np.int64)
        places[present] = np.arange(len(present))
        index = (down[y] * columns + across[x]) * len(present) + places[label]
        count = np.bincount(index, weights=length, minlength=rows * columns * len(present))
        masks = np.zeros((OUTSIDE + 1, rows * columns))
        ids = object_ids(len(attention), self.background)
        np.add.at(masks, ids, attention.reshape(len(attention), -1).astype(np.float16))
        weighted = masks[present].T * count.reshape(rows * columns, len(present))
        means = np.full(OUTSIDE + 1, np.nan)
        means[present] = weighted.sum(0) / area[present]
        return means
