"""What a denoising network reads of a frame: vectors of slots, and maps of where they are."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.types import Layout, Size

COLOURS = 3


class Condition(nn.Module):
    """Slots as vectors to attend to, and their layout as a map of the size `grid`.

    With `appearance`, a number of features, how a slot's place looks goes into its vector. With
    `layout`, a number of channels, every place of the map has what the slots there say in them, in
    the slots' shares. With neither the vectors are the slots themselves and there is no map: the
    paper's condition.
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
        """Vectors and at most one map. Raises ValueError where something to be read is missing."""
        if self.tokens is not None:
            if seen is None or seen.appearance is None:
                raise ValueError("this decoder reads how the slots' places look")
            slots = self.tokens(self._together(slots, seen.appearance.to(slots)))
        if self.layout is None:
            return slots, []
        if seen is None:
            raise ValueError("this decoder reads where the slots are")
        places = F.interpolate(seen.attention.to(slots), size=self.grid, mode="area")
        return slots, [torch.einsum("bnij,bnc->bcij", places, self.layout(slots))]

    def _together(
        self, slots: Float[Tensor, "b n d"], appearance: Float[Tensor, "b n e"]
    ) -> Float[Tensor, "b n f"]:
        features, colours = appearance[..., :-COLOURS], appearance[..., -COLOURS:]
        # colours as they are: normalised with the features, brightness would be lost
        return torch.cat([self.norm_slots(slots), self.norm_features(features), colours], dim=-1)
