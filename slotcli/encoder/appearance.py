"""Appearance of slots: mean features, mean colour, and a coarse grid of colours.

The grid of an object spans the object, so it moves and grows with the object's attention; that of
slot 0, the background of models that are supervised by masks, spans the frame.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from slotcli.types import BACKGROUND_SLOT

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
    """Reads how slots look; `grid` is the number of points per side of their colour grids, or 0."""

    grid: int = 0

    def __call__(
        self,
        attention: Float[Tensor, "b t n p"],
        maps: Float[Tensor, "f c i j"],
        frames: Float[Tensor, "b t 3 h w"],
    ) -> Float[Tensor, "b t n e"]:
        """Mean backbone features and mean colour of each slot, weighted by its attention.

        Of slots with grids their colours follow: by channel, row by row.
        """
        size = (maps.shape[-2], maps.shape[-1])
        colours = F.adaptive_avg_pool2d(frames.flatten(0, 1), size)
        seen = torch.cat([maps, colours], dim=1).flatten(2).unflatten(0, frames.shape[:2])
        weights = attention / (attention.sum(-1, keepdim=True) + _EPSILON)
        means = weights @ seen.transpose(-1, -2)
        if not self.grid:
            return means
        where = attention.flatten(0, 1).unflatten(2, size)
        points = _fitted(where, colours, means[..., -COLOURS:].flatten(0, 1), self.grid)
        return torch.cat([means, points.unflatten(0, frames.shape[:2])], dim=-1)


def colour_map(
    attention: Float[Tensor, "b n h w"],
    points: Float[Tensor, "b n c"],
    grid: int,
    background: int | None = BACKGROUND_SLOT,
) -> Float[Tensor, "b 3 h w"]:
    """The frame as the slots' grids show it: each interpolated, weighted by attention.

    `background` is the slot whose grid spans the frame, None if it was left out.
    """
    rows, columns = _tents(attention, grid, background)
    return _spread(attention, points.unflatten(2, (COLOURS, grid, grid)), rows, columns)


def _fitted(
    attention: Float[Tensor, "b n h w"],
    colours: Float[Tensor, "b 3 h w"],
    means: Float[Tensor, "b n 3"],
    grid: int,
) -> Float[Tensor, "b n c"]:
    """The grids' colours: means by attention and distance, refined by the error of their map."""
    rows, columns = _tents(attention, grid, BACKGROUND_SLOT)
    points = _gathered(attention, colours, means, rows, columns)
    for _ in range(_REFITS):
        error = colours - _spread(attention, points, rows, columns)
        points = points + _gathered(attention, error, torch.zeros_like(means), rows, columns)
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


def _tents(
    attention: Float[Tensor, "b n h w"], grid: int, background: int | None
) -> tuple[Float[Tensor, "b n h g"], Float[Tensor, "b n w g"]]:
    """Weights of linear interpolation between the grids' points, for each row and each column."""
    total = attention.sum((2, 3)) + _EPSILON
    slots = torch.arange(attention.shape[1], device=attention.device)
    whole = (slots == (-1 if background is None else background))[:, None]
    return (
        _tents_along(attention.sum(3), total, whole, grid),
        _tents_along(attention.sum(2), total, whole, grid),
    )


def _tents_along(
    profile: Float[Tensor, "b n l"],
    total: Float[Tensor, "b n"],
    whole: Bool[Tensor, "n 1"],
    grid: int,
) -> Float[Tensor, "b n l g"]:
    places = torch.arange(profile.shape[2], dtype=profile.dtype, device=profile.device)
    apart = places - ((profile @ places) / total)[..., None]
    deviation = ((profile * apart**2).sum(2) / total).sqrt().clamp(min=_SMALLEST)
    spanned = apart / (_REACH * deviation)[..., None]  # from -1 to 1 within the grid
    of_frame = torch.linspace(-1, 1, len(places), dtype=profile.dtype, device=profile.device)
    scaled = torch.where(whole, of_frame, spanned.clamp(-1, 1))
    number = ((scaled + 1) / 2 * (grid - 1))[..., None]
    points = torch.arange(grid, dtype=profile.dtype, device=profile.device)
    return (1 - (number - points).abs()).clamp(min=0)
