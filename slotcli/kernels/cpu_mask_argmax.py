"""mask_argmax on a CPU: by blocks of pixels where one slot wins, by pixels along the borders only.

Between four neighbouring positions the interpolation is bilinear, so a slot that leads at the four
corners of a block of pixels leads everywhere inside it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from slotcli.kernels import reference
from slotcli.types import Size

_BLOCK = 12  # pixels a side, or up to twice as many
_LEAST_PIXELS = 4  # a side, between neighbouring positions: below, blocks do not pay
_MOST_CONTESTED = 0.25  # of all blocks: above, the plain form is faster
_AT_ONCE = 256  # blocks, whose pixels stay in a core's own cache


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
        padded = F.pad(frame[None], (1, 1, 1, 1), mode="replicate")[0]
        if not _label_blocks(padded, rows, columns, frame_labels):
            frame_labels.copy_(reference.mask_argmax(frame[None], size)[0])
    return labels


def _label_blocks(
    frame: Float[Tensor, "n h w"], rows: _Axis, columns: _Axis, labels: UInt8[Tensor, "H W"]
) -> bool:
    """Fills in the labels; False, without having done so, where too many blocks are contested."""
    grid = (len(rows.first) + 1, len(columns.first) + 1)
    corners = F.interpolate(frame[None], grid, mode="bilinear", align_corners=True)[0]
    leaders = corners.argmax(dim=0).to(torch.uint8)
    leader = leaders[:-1, :-1]
    contested = (leader != leaders[:-1, 1:]) | (leader != leaders[1:, :-1])
    contested |= leader != leaders[1:, 1:]
    contested &= rows.filled[:, None] & columns.filled
    if contested.sum() > _MOST_CONTESTED * contested.numel():
        return False
    torch.index_select(leader.index_select(1, columns.block), 0, rows.block, out=labels)
    blocks = contested.nonzero()
    for row, column in (some.T for some in blocks.split(_AT_ONCE) if len(blocks)):
        slots = _contenders(corners, row, column)
        y, x = rows.pixels(row), columns.pixels(column)
        top, left = row // rows.parts, column // columns.parts
        down, right = rows.place[y] + 1 - top, columns.place[x] + 1 - left
        winners = _winners(frame, slots, top, left, down, right)
        pixels = y[:, None] * labels.shape[1] + x
        labels.view(-1).scatter_(0, pixels.flatten(), winners.flatten())
    return True


def _contenders(
    corners: Float[Tensor, "n i j"], row: Int64[Tensor, " m"], column: Int64[Tensor, " m"]
) -> Int64[Tensor, "contenders m"]:
    """The slots that may win in each block, in order; then some others, where there are fewer."""
    around = torch.stack([corners[:, row + i, column + j] for i in (0, 1) for j in (0, 1)])
    may_win = around.amax(dim=0) >= around.amin(dim=0).amax(dim=0)
    ranked = may_win.to(torch.uint8).argsort(dim=0, descending=True, stable=True)
    return ranked[: int(may_win.sum(dim=0).max())]


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
    for slot in slots:
        at_left = torch.lerp(frame[slot, top, left], frame[slot, top + 1, left], down)
        at_right = torch.lerp(frame[slot, top, left + 1], frame[slot, top + 1, left + 1], down)
        share = torch.lerp(at_left, at_right, right)
        winner = torch.where(share > best, slot.to(torch.uint8), winner)
        torch.maximum(best, share, out=best)
    return winner
