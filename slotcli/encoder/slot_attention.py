"""Slot attention: slots compete for the positions of a frame. Locatello et al. 2020, Alg. 1."""

from jaxtyping import Float
from torch import Tensor, nn

from slotcli.kernels import slot_read


class SlotAttention(nn.Module):
    """Refines slots against one frame's features; the corrector of the encoder."""

    def __init__(self, slot_dim: int) -> None:
        super().__init__()
        self.norm_inputs = nn.LayerNorm(slot_dim)
        self.norm_slots = nn.LayerNorm(slot_dim)
        self.queries = nn.Linear(slot_dim, slot_dim, bias=False)
        self.keys = nn.Linear(slot_dim, slot_dim, bias=False)
        self.values = nn.Linear(slot_dim, slot_dim, bias=False)
        self.gru = nn.GRUCell(slot_dim, slot_dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm(slot_dim),
            nn.Linear(slot_dim, 2 * slot_dim),
            nn.ReLU(),
            nn.Linear(2 * slot_dim, slot_dim),
        )

    def project(
        self, features: Float[Tensor, "*b p d"]
    ) -> tuple[Float[Tensor, "*b p d"], Float[Tensor, "*b p d"]]:
        """Keys and values of any number of frames: the part that does not depend on slots."""
        normed = self.norm_inputs(features)
        return self.keys(normed), self.values(normed)

    def forward(
        self,
        slots: Float[Tensor, "b n d"],
        keys: Float[Tensor, "b p d"],
        values: Float[Tensor, "b p d"],
        iterations: int,
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n p"]]:
        """Slots after `iterations` (at least 1) reads, and the last read's attention."""
        for _ in range(iterations):
            updates, attention = slot_read(self.queries(self.norm_slots(slots)), keys, values)
            # The state of the GRU is the slots themselves, not their normalised form.
            slots = self.gru(updates.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
            slots = slots + self.mlp(slots)
        return slots, attention
