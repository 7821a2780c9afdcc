"""mask_argmax on a CPU: by blocks and rows of pixels where one slot wins, by pixels only elsewhere.

Between four neighbouring positions the interpolation is bilinear, so a slot that leads at the four
corners of a block of pixels leads everywhere inside it, and one that leads at both ends of a row of
such a block leads along that row. All of it runs in the caller's thread: beside a model that has
every core, waiting for PyTorch's other threads took up to ten times as long as the work.
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

_BLOCK = 12  # pixels a side, or up to twice as many
_LEAST_PIXELS = 4  # a side, between neighbouring positions: below, blocks do not pay
_MOST_CONTESTED = 0.25  # of all blocks: above, the plain form is faster
_AT_ONCE = 512  # blocks: too few pixels for PyTorch to share them out among threads


@dataclass(frozen=True)
class _Axis:
    """One axis, cut into blocks: the cells between neighbouring positions, and parts of them.

    The outermost positions stand twice, so that pixels beyond them lie in a cell, too.
    """

    parts: int  # of a cell
    place: Float[Tensor, " pixels"]  # in positions, from the first original one
    block: Int64[Tensor, " pixels"]
    first: Int64[Tensor, " blocks"]  # pixel of each block
    last: Int64[Tensor, " blocks"]

    @classmethod
    def cut(cls, positions: int, pixels: int, dtype: torch.dtype) -> "_Axis":
        parts = max(1, pixels // (_BLOCK * positions))
        place = (torch.arange(pixels, dtype=dtype) + 0.5) * (positions / pixels) - 0.5
        block = ((place + 1) * parts).long()
        end = block.bincount(minlength=(positions + 1) * parts).cumsum(0)
        return cls(parts, place, block, torch.cat([end.new_zeros(1), end[:-1]]), end - 1)

    @property
    def filled(self) -> Bool[Tensor, " blocks"]:
        return self.last >= self.first

    def pixels(self, blocks: Int64[Tensor, " m"]) -> Int64[Tensor, "side m"]:
        """The pixels of some blocks, equally many of each: of smaller ones the last one again."""
        side = int((self.last - self.first).max()) + 1
        return torch.minimum(self.first[blocks] + torch.arange(side)[:, None], self.last[blocks])

    def places(self, pixels: Int64[Tensor, "side m"]) -> Float[Tensor, "side m"]:
        """Where some pixels are."""
        return self.place.index_select(0, pixels.flatten()).view(pixels.shape)


def mask_argmax(attention: Float[Tensor, "t n h w"], size: Size) -> UInt8[Tensor, "t H W"]:
    """`reference.mask_argmax`, except where the greatest shares differ by no more than rounding.

    Its time grows with the length of the borders between slots, hardly with the number of slots.
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
    """Fills in the labels; False, without having done so, where too many blocks are contested."""
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
        down, right = rows.places(y) + 1 - top, columns.places(x) + 1 - left
        first, last = _winners(frame, slots, top, left, down, right[[0, -1]]).unbind(1)
        lines[y.numpy(), column.numpy()] = first.numpy()
        for line, block in (some.T for some in (first != last).nonzero().split(2 * _AT_ONCE)):
            corner = (slots.index_select(1, block), top[block], left[block])
            place = line * len(row) + block
            own_down = down.flatten().index_select(0, place)[None]
            winners = _winners(frame, *corner, own_down, right.index_select(1, block))
            pixels = y.flatten().index_select(0, place) * labels.shape[1] + x.index_select(1, block)
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
    """Rows and columns of some blocks at a time, with the slots that may win in each, in order.

    Where a block has fewer than others beside it, slots that cannot win follow. Those with few
    contenders come first, so that they do not wait for those with many.
    """
    row, column = contested.nonzero().T
    width = corners.shape[2]
    shares, first = corners.flatten(1), row * width + column
    upper = shares.index_select(1, first), shares.index_select(1, first + 1)
    lower = shares.index_select(1, first + width), shares.index_select(1, first + width + 1)
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
    """The slot of the greatest share at each pixel of some blocks, ties to the first.

    `top` and `left` are the cells that the blocks lie in, `down` and `right` places within them.
    """
    down = down[:, None]
    winner = torch.zeros(len(down), len(right), len(top), dtype=torch.uint8)
    best = torch.full(winner.shape, -torch.inf, dtype=frame.dtype)
    width = frame.shape[2]
    shares = frame.flatten()
    for slot in slots:
        corner = (slot * frame.shape[1] + top) * width + left
        at_left = torch.lerp(shares.take(corner), shares.take(corner + width), down)
        at_right = torch.lerp(shares.take(corner + 1), shares.take(corner + width + 1), down)
        share = torch.lerp(at_left, at_right, right)
        # Slots that can win come in order: the last one to win has the greatest number.
        won = (share > best).view(torch.uint8) * slot.to(torch.uint8)
        torch.maximum(winner, won, out=winner)  # torch.where takes six times as long for bytes
        torch.maximum(best, share, out=best)
    return winner
