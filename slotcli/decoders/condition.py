"""Conditions a denoising network on slots: context vectors, and a spatial map of their layout."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.types import Layout, Size

COLOURS = 3


class Condition(nn.Module):
    """Context vectors for cross-attention, and the slots' layout as a map of size `grid`.

    With `appearance`, a number of backbone channels, each vector also encodes the mean features
    and colour under its slot's attention. With `layout`, a number of channels, the map holds at
    each position the slots' projections, weighted by attention. With neither, the vectors are the
    slots themselves and there is no map: the paper's condition.
    """

    def __init__(self, slot_dim: int, grid: Size, *, layout: int = 0, appearance: int = 0) -> None:
        super().__init__()
        self.grid = grid
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

    def forward(
        self, slots: Float[Tensor, "b n d"], seen: Layout | None
    ) -> tuple[Float[Tensor, "b n d"], list[Float[Tensor, "b c i j"]]]:
        """Vectors and at most one map. Raises ValueError if `seen` lacks a part that it needs."""
        if self.tokens is not None:
            if seen is None or seen.appearance is None:
                raise ValueError("this decoder reads how the slots' places look")
            slots = self.tokens(self._with_appearance(slots, seen.appearance.to(slots)))
        if self.layout is None:
            return slots, []
        if seen is None:
            raise ValueError("this decoder reads where the slots are")
        weights = F.interpolate(seen.attention.to(slots), size=self.grid, mode="area")
        return slots, [torch.einsum("bnij,bnc->bcij", weights, self.layout(slots))]

    def _with_appearance(
        self, slots: Float[Tensor, "b n d"], appearance: Float[Tensor, "b n e"]
    ) -> Float[Tensor, "b n f"]:
        features, colours = appearance[..., :-COLOURS], appearance[..., -COLOURS:]
        # Colours are not normalised: normalisation would remove brightness.
        return torch.cat([self.norm_slots(slots), self.norm_features(features), colours], dim=-1)
