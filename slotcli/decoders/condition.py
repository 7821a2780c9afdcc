"""Conditions a denoising network on slots: context vectors, and a spatial map of their layout."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.encoder.appearance import COLOURS, colour_map, grid_channels
from slotcli.types import Layout, Size


def map_channels(layout: int, colour_grid: int, patch: int) -> int:
    """Number of channels of the map that a `Condition` makes; 0 where it makes none."""
    return (layout + (COLOURS if colour_grid else 0)) * patch**2


class Condition(nn.Module):
    """Context vectors for cross-attention, and the slots' layout as a map of size `grid`.

    With `appearance`, a number of backbone channels, each vector also encodes the mean features
    and colour under its slot's attention. With `layout`, a number of channels, the map holds at
    each position the slots' projections, weighted by attention; with `colour_grid` also the
    colours of their grids. The map is made at `patch` times the size, and folded into channels.
    Without any, the vectors are the slots themselves and there is no map: the paper's condition.
    """

    def __init__(
        self,
        slot_dim: int,
        grid: Size,
        *,
        layout: int = 0,
        appearance: int = 0,
        colour_grid: int = 0,
        patch: int = 1,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.patch = patch
        self.colour_grid = colour_grid
        self.features = appearance
        self.tokens: nn.Sequential | None = None
        if appearance:
            self.norm_slots = nn.LayerNorm(slot_dim)
            self.norm_features = nn.LayerNorm(appearance)
            self.tokens = nn.Sequential(
                nn.Linear(slot_dim + appearance + COLOURS, 2 * slot_dim),
                nn.ReLU(),
                nn.Linear(2 * slot_dim, slot_dim),
                nn.LayerNorm(slot_dim),
            )
        self.layout = nn.Linear(slot_dim, layout) if layout else None

    @property
    def appearance_channels(self) -> int:
        """Numbers per slot of the appearance that it reads."""
        if self.tokens is None:
            return 0
        return self.features + COLOURS + grid_channels(self.colour_grid)

    def forward(
        self, slots: Float[Tensor, "b n d"], seen: Layout | None
    ) -> tuple[Float[Tensor, "b n d"], list[Float[Tensor, "b c i j"]]]:
        """Vectors and at most one map. Raises ValueError if `seen` lacks a part that it needs."""
        appearance: Tensor | None = None
        if self.tokens is not None:
            if seen is None or seen.appearance is None:
                raise ValueError("this decoder reads how the slots' places look")
            appearance = seen.appearance.to(slots)
            slots = self.tokens(self._with_appearance(slots, appearance))
        if self.layout is None:
            return slots, []
        if seen is None:
            raise ValueError("this decoder reads where the slots are")
        size = (self.patch * self.grid[0], self.patch * self.grid[1])
        weights = F.interpolate(seen.attention.to(slots), size=size, mode="area")
        maps = [torch.einsum("bnij,bnc->bcij", weights, self.layout(slots))]
        if self.colour_grid and appearance is not None:
            maps.append(self._colours(weights, appearance))
        return slots, [F.pixel_unshuffle(torch.cat(maps, dim=1), self.patch)]

    def colours(self, seen: Layout) -> Float[Tensor, "b 3 i j"] | None:
        """The frames as the slots' colour grids alone show them, at the attention's size, if any.

        No network takes part: a trivial baseline for renderings.
        """
        if not self.colour_grid or seen.appearance is None:
            return None
        return self._colours(seen.attention, seen.appearance)

    def _colours(
        self,
        attention: Float[Tensor, "b n i j"],
        appearance: Float[Tensor, "b n e"],
    ) -> Float[Tensor, "b 3 i j"]:
        grids = appearance[..., self.features + COLOURS :]
        return colour_map(attention, grids, self.colour_grid)

    def _with_appearance(
        self, slots: Float[Tensor, "b n d"], appearance: Float[Tensor, "b n e"]
    ) -> Float[Tensor, "b n f"]:
        means = appearance[..., : self.features + COLOURS]
        features, colours = means[..., :-COLOURS], means[..., -COLOURS:]
        # Colours are not normalised: normalisation would remove brightness.
        return torch.cat([self.norm_slots(slots), self.norm_features(features), colours], dim=-1)
