"""Appearance of slots: mean features, mean colour, and a coarse grid of colours.

The grid of an object spans the object; its extent is kept beside its colours, so that it can be
moved and scaled with the object. The background's spans the frame.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from slotcli.types import EXTENT, Size

COLOURS = 3

_EPSILON = 1e-6  # keeps the mean of a slot without attention near 0
_REACH = 1.6  # standard deviations from an object's centre to its grid's outermost points
_SMALLEST = 0.5  # standard deviation of the smallest object, in positions
# Where slots share a position its colour says little about either: with attention itself in place
# of its power, the background's grid shows a ghost of an object that is dropped.
_POWER = 3
_SHARE = 0.05  # weight of a point's wider neighbourhood, of the mean weight of a grid's points
_NEIGHBOURHOODS = (5, 3)  # points per side
_REFITS = 2  # passes in which the grids take up what they do not yet explain; see EN10


@dataclass(frozen=True)
class Appearance:
    """Reads how slots look; `grid` is the number of points per side of their colour grids, or 0.

    The grid of the slot `background`, if any, spans the frame.
    """

    grid: int = 0
    background: int | None = None

    def __call__(
        self,
        attention: Float[Tensor, "b t n p"],
        maps: Float[Tensor, "f c i j"],
        frames: Float[Tensor, "b t 3 h w"],
    ) -> Float[Tensor, "b t n e"]:
        """Mean backbone features and mean colour of each slot, weighted by its attention.

        With grids, their colours follow, by channel and row by row, and then their extents.
        """
        size = (maps.shape[-2], maps.shape[-1])
        colours = F.adaptive_avg_pool2d(frames.flatten(0, 1), size)
        seen = torch.cat([maps, colours], dim=1).flatten(2).unflatten(0, frames.shape[:2])
        weights = attention / (attention.sum(-1, keepdim=True) + _EPSILON)
        means = weights @ seen.transpose(-1, -2)
        if not self.grid:
            return means
        where = attention.flatten(0, 1).unflatten(2, size)
        extents = _extents(where, self.background)
        points = _fitted(where, colours, means[..., -COLOURS:].flatten(0, 1), extents, self.grid)
        grids = torch.cat([points, extents], dim=-1)
        return torch.cat([means, grids.unflatten(0, frames.shape[:2])], dim=-1)


def grid_channels(grid: int) -> int:
    """Numbers that a colour grid adds to a slot's appearance."""
    return COLOURS * grid**2 + EXTENT if grid else 0


def colour_map(
    attention: Float[Tensor, "b n h w"], grids: Float[Tensor, "b n c"], grid: int
) -> Float[Tensor, "b 3 h w"]:
    """The frame as the slots' grids show it: each interpolated, weighted by attention.

    `grids` are colours and extents, as `Appearance` gives them.
    """
    points, extents = grids[..., :-EXTENT], grids[..., -EXTENT:]
    tents = _tents(extents, (attention.shape[2], attention.shape[3]), grid)
    return _spread(attention, points.unflatten(2, (COLOURS, grid, grid)), *tents)


def _fitted(
    attention: Float[Tensor, "b n h w"],
    colours: Float[Tensor, "b 3 h w"],
    means: Float[Tensor, "b n 3"],
    extents: Float[Tensor, "b n 4"],
    grid: int,
) -> Float[Tensor, "b n c"]:
    """The grids' colours: means by attention and distance, refined by the error of their map."""
    tents = _tents(extents, (attention.shape[2], attention.shape[3]), grid)
    points = _gathered(attention, colours, means, *tents)
    for _ in range(_REFITS):
        error = colours - _spread(attention, points, *tents)
        points = points + _gathered(attention, error, torch.zeros_like(means), *tents)
    return points.flatten(2)


def _gathered(
    attention: Float[Tensor, "b n h w"],
    values: Float[Tensor, "b 3 h w"],
    means: Float[Tensor, "b n 3"],
    rows: Float[Tensor, "b n h g"],
    columns: Float[Tensor, "b n w g"],
) -> Float[Tensor, "b n 3 g g"]:
    """Mean of `values` at each point; a point off its object takes on its neighbours', or the mean.

    So what an object hid has the colours around it once the object is dropped.
    """
    trusted = (attention**_POWER)[:, :, None]
    weighted = torch.cat([trusted * values[:, None], trusted], dim=2)
    along = torch.einsum("bnchw,bnwj->bnchj", weighted, columns)
    sums = torch.einsum("bnchj,bnhi->bncij", along, rows)
    share = _SHARE * sums[:, :, COLOURS:].mean((3, 4), keepdim=True) + _EPSILON
    points = means[..., None, None]
    for side in _NEIGHBOURHOODS:
        around = F.avg_pool2d(sums.flatten(0, 1), side, 1, side // 2).unflatten(0, sums.shape[:2])
        points = _mixed(around, points, share)
    return _mixed(sums, points, share)


def _mixed(
    sums: Float[Tensor, "b n 4 g g"],
    instead: Float[Tensor, "b n 3 i j"],
    share: Float[Tensor, "b n 1 1 1"],
) -> Float[Tensor, "b n 3 g g"]:
    return (sums[:, :, :COLOURS] + share * instead) / (sums[:, :, COLOURS:] + share)


def _spread(
    attention: Float[Tensor, "b n h w"],
    points: Float[Tensor, "b n 3 g g"],
    rows: Float[Tensor, "b n h g"],
    columns: Float[Tensor, "b n w g"],
) -> Float[Tensor, "b 3 h w"]:
    along = torch.einsum("bncij,bnwj->bnciw", points, columns)
    spread = torch.einsum("bnciw,bnhi->bnchw", along, rows)
    return (attention[:, :, None] * spread).sum(1)


def _extents(attention: Float[Tensor, "b n h w"], background: int | None) -> Float[Tensor, "b n 4"]:
    """Centre (y, x) of each slot's grid and its reach from there, as fractions of the frame."""
    total = attention.sum((2, 3)) + _EPSILON
    slots = torch.arange(attention.shape[1], device=attention.device)
    whole = slots == (-1 if background is None else background)
    down, across = (_extent(attention.sum(axis), total, whole) for axis in (3, 2))
    return torch.stack([down[0], across[0], down[1], across[1]], dim=-1)


def _extent(
    profile: Float[Tensor, "b n l"], total: Float[Tensor, "b n"], whole: Bool[Tensor, " n"]
) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]:
    length = profile.shape[2]
    places = _places(length, profile)
    centre = (profile @ places) / total
    variance = (profile * (places - centre[..., None]) ** 2).sum(2) / total
    # Bounded before the root, whose gradient at 0 is infinite.
    reach = _REACH * variance.clamp(min=(_SMALLEST / length) ** 2).sqrt()
    of_frame = (1 - 1 / length) / 2  # outermost points at the centres of the outermost positions
    return centre.masked_fill(whole, 0.5), reach.masked_fill(whole, of_frame)


def _tents(
    extents: Float[Tensor, "b n 4"], size: Size, grid: int
) -> tuple[Float[Tensor, "b n h g"], Float[Tensor, "b n w g"]]:
    """Weights of linear interpolation between the grids' points, for each row and each column."""
    points = torch.arange(grid, dtype=extents.dtype, device=extents.device)
    down, across = (
        ((_places(length, extents) - extents[..., axis, None]) / extents[..., axis + 2, None])
        for axis, length in enumerate(size)
    )
    rows, columns = (
        (1 - ((span.clamp(-1, 1)[..., None] + 1) / 2 * (grid - 1) - points).abs()).clamp(min=0)
        for span in (down, across)
    )
    return rows, columns


def _places(length: int, like: Tensor) -> Float[Tensor, " l"]:
    """The centres of positions, as fractions of the frame's side."""
    return (torch.arange(length, dtype=like.dtype, device=like.device) + 0.5) / length
