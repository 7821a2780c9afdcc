"""mask_argmax on a CPU: labels whole blocks or rows of pixels where one slot wins.

Between four neighbouring positions the interpolation is bilinear. So a slot that wins at the four
corners of a block of pixels wins everywhere inside it, and one that wins at both ends of a row
of such a block wins along that row; only other rows are labelled pixel by pixel. The computation
stays in the caller's thread: while a model occupies every core, waiting for PyTorch's other
threads took up to ten times as long as the work.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from slotcli.kernels import reference
from slotcli.types import Size

_BLOCK = 12  # pixels per side, or up to twice as many
_LEAST_PIXELS = 4  # per side, between neighbouring positions: below, blocks do not pay
_MOST_CONTESTED = 0.25  # fraction of all blocks: above, the reference is faster
_AT_ONCE = 512  # blocks per batch: too few pixels for PyTorch to use several threads


@dataclass(frozen=True)
class _Axis:
    """One axis, divided into cells between neighbouring positions, and each cell into blocks.

    The outermost positions are padded by one, so that pixels beyond them lie in a cell too.
    """

    parts: int  # blocks per cell
    coordinate: Float[Tensor, " pixels"]  # in positions, from the first one before padding
    block: Int64[Tensor, " pixels"]  # index
    first: Int64[Tensor, " blocks"]  # pixel of each block
    last: Int64[Tensor, " blocks"]

    @classmethod
    def cut(cls, positions: int, pixels: int, dtype: torch.dtype) -> "_Axis":
        parts = max(1, pixels // (_BLOCK * positions))
        coordinate = (torch.arange(pixels, dtype=dtype) + 0.5) * (positions / pixels) - 0.5
        block = ((coordinate + 1) * parts).long()
        end = block.bincount(minlength=(positions + 1) * parts).cumsum(0)
        return cls(parts, coordinate, block, torch.cat([end.new_zeros(1), end[:-1]]), end - 1)

    @property
    def filled(self) -> Bool[Tensor, " blocks"]:
        return self.last >= self.first

    def pixels(self, blocks: Int64[Tensor, " m"]) -> Int64[Tensor, "side m"]:
        """Pixels of some blocks, padded to equal lengths by repeating a block's last pixel."""
        side = int((self.last - self.first).max()) + 1
        return torch.minimum(self.first[blocks] + torch.arange(side)[:, None], self.last[blocks])

    def coordinates(self, pixels: Int64[Tensor, "side m"]) -> Float[Tensor, "side m"]:
        """Coordinates of some pixels, in positions."""
        return self.coordinate.index_select(0, pixels.flatten()).view(pixels.shape)


def mask_argmax(attention: Float[Tensor, "t n h w"], size: Size) -> UInt8[Tensor, "t H W"]:
    """`reference.mask_argmax`; labels may differ where the two best slots are within rounding.

    The time grows with the length of the borders between slots, hardly with the number of slots.
    """
    positions = attention.shape[2:]
    if any(new < _LEAST_PIXELS * old for old, new in zip(positions, size, strict=True)):
        return reference.mask_argmax(attention, size)
    wide = attention.to(torch.promote_types(attention.dtype, torch.float32))
    rows, columns = (_Axis.cut(*side, wide.dtype) for side in zip(positions, size, strict=True))
    labels = attention.new_empty(len(attention), *size, dtype=torch.uint8)
    for frame, frame_labels in zip(wide, labels, strict=True):
        padded = np.pad(frame.numpy(), ((0, 0), (1, 1), (1, 1)), mode="edge")
        if not _label_blocks(torch.from_numpy(padded), rows, columns, frame_labels):
            frame_labels.copy_(reference.mask_argmax(frame[None], size)[0])
    return labels


def _label_blocks(
    frame: Float[Tensor, "n h w"], rows: _Axis, columns: _Axis, labels: UInt8[Tensor, "H W"]
) -> bool:
    """Writes the labels in place; returns False, with none written, if too many are contested."""
    grid = (len(rows.first) + 1, len(columns.first) + 1)
    corners = frame.new_empty(len(frame), *grid)
    for slot, own in zip(frame, corners, strict=True):
        own.copy_(F.interpolate(slot[None, None], grid, mode="bilinear", align_corners=True)[0, 0])
    leaders = torch.from_numpy(corners.numpy().argmax(axis=0))
    leader = leaders[:-1, :-1]
    contested = (leader != leaders[:-1, 1:]) | (leader != leaders[1:, :-1])
    contested |= leader != leaders[1:, 1:]
    contested &= rows.filled[:, None] & columns.filled
    if contested.sum() > _MOST_CONTESTED * contested.numel():
        return False
    lines = leader.to(torch.uint8).numpy()[rows.block.numpy()]
    mixed: list[tuple[Tensor, Tensor]] = []
    for row, column, slots in _contested_blocks(corners, contested):
        y, x = rows.pixels(row), columns.pixels(column)
        top, left = row // rows.parts, column // columns.parts
        down, right = rows.coordinates(y) + 1 - top, columns.coordinates(x) + 1 - left
        first, last = _winners(frame, slots, top, left, down, right[[0, -1]]).unbind(1)
        lines[y.numpy(), column.numpy()] = first.numpy()
        for line, block in (some.T for some in (first != last).nonzero().split(2 * _AT_ONCE)):
            corner = (slots.index_select(1, block), top[block], left[block])
            index = line * len(row) + block
            line_down = down.flatten().index_select(0, index)[None]
            winners = _winners(frame, *corner, line_down, right.index_select(1, block))
            pixels = y.flatten().index_select(0, index) * labels.shape[1] + x.index_select(1, block)
            mixed.append((pixels, winners[0]))
    widths = (columns.last + 1 - columns.first).numpy()
    filled = labels.numpy()
    filled[:] = np.repeat(lines, widths, axis=1)
    for pixels, winners in mixed:
        filled.reshape(-1)[pixels.numpy()] = winners.numpy()
    return True


def _contested_blocks(
    corners: Float[Tensor, "n i j"], contested: Bool[Tensor, "rows columns"]
) -> Iterator[tuple[Int64[Tensor, " m"], Int64[Tensor, " m"], Int64[Tensor, "contenders m"]]]:
    """Yields batches of contested blocks: rows, columns, and the slots that may win, in order.

    Blocks with fewer contenders than others of their batch are padded with slots that cannot win.
    Blocks are sorted by the number of contenders, to keep that padding small.
    """
    row, column = contested.nonzero().T
    width = corners.shape[2]
    values, first = corners.flatten(1), row * width + column
    upper = values.index_select(1, first), values.index_select(1, first + 1)
    lower = values.index_select(1, first + width), values.index_select(1, first + width + 1)
    most = torch.maximum(torch.maximum(*upper), torch.maximum(*lower))
    least = torch.minimum(torch.minimum(*upper), torch.minimum(*lower))
    may_win = (most >= least.amax(dim=0)).to(torch.uint8)
    ranked = may_win.argsort(dim=0, descending=True, stable=True)
    count, order = may_win.sum(dim=0).sort()
    for some, counts in zip(order.split(_AT_ONCE), count.split(_AT_ONCE), strict=True):
        if len(some):
            yield row[some], column[some], ranked[: int(counts[-1]), some]


def _winners(
    frame: Float[Tensor, "n h w"],
    slots: Int64[Tensor, "contenders m"],
    top: Int64[Tensor, " m"],
    left: Int64[Tensor, " m"],
    down: Float[Tensor, "y m"],
    right: Float[Tensor, "x m"],
) -> UInt8[Tensor, "y x m"]:
    """Slot with the greatest interpolated attention at each pixel of some blocks; first if tied.

    `top` and `left` index the blocks' cells; `down` and `right` are the pixels' offsets in them.
    """
    down = down[:, None]
    winner = torch.zeros(len(down), len(right), len(top), dtype=torch.uint8)
    best = torch.full(winner.shape, -torch.inf, dtype=frame.dtype)
    width = frame.shape[2]
    values = frame.flatten()
    for slot in slots:
        corner = (slot * frame.shape[1] + top) * width + left
        at_left = torch.lerp(values.take(corner), values.take(corner + width), down)
        at_right = torch.lerp(values.take(corner + 1), values.take(corner + width + 1), down)
        value = torch.lerp(at_left, at_right, right)
        # Slots that may win are in ascending order, so the latest winner has the greatest number.
        won = (value > best).view(torch.uint8) * slot.to(torch.uint8)
        torch.maximum(winner, won, out=winner)  # torch.where takes six times as long for bytes
        torch.maximum(best, value, out=best)
    return winner
