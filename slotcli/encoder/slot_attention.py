"""Slot attention: slots compete for the positions of a frame. Locatello et al. 2020, Alg. 1."""

from jaxtyping import Float
from torch import Tensor, nn

from slotcli.kernels import row_statistics, slot_read


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

    def statistics(
        self, features: Float[Tensor, "*b p d"]
    ) -> tuple[Float[Tensor, "*b p"], Float[Tensor, "*b p"]]:
        """Mean and rstd per position of any number of frames, shared by all iterations."""
        return row_statistics(features, self.norm_inputs.eps)

    def forward(
        self,
        slots: Float[Tensor, "b n d"],
        features: Float[Tensor, "b p d"],
        statistics: tuple[Float[Tensor, "b p"], Float[Tensor, "b p"]],
        iterations: int,
        bias: Float[Tensor, " n"] | None = None,
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n p"]]:
        """Slots after `iterations` (at least 1) reads, and the last read's attention.

        `bias` is added to each slot's logits at all positions.
        """
        for iteration in range(iterations):
            updates, attention = self._read(
                slots, features, statistics, bias, with_attention=iteration == iterations - 1
            )
            # The state of the GRU is the slots themselves, not their normalised form.
            slots = self.gru(updates.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
            slots = slots + self.mlp(slots)
        return slots, attention

    def _read(
        self,
        slots: Float[Tensor, "b n d"],
        features: Float[Tensor, "b p d"],
        statistics: tuple[Float[Tensor, "b p"], Float[Tensor, "b p"]],
        bias: Float[Tensor, " n"] | None,
        *,
        with_attention: bool,
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n _"]]:
        """Attention-weighted means of the values; keys and values are never materialised.

        The projections are absorbed into the queries and applied to the means.
        """
        gamma, beta = self.norm_inputs.weight, self.norm_inputs.bias
        queries = self.queries(self.norm_slots(slots)) * slots.shape[-1] ** -0.5
        queries = queries @ self.keys.weight
        logits = queries @ beta if bias is None else queries @ beta + bias
        means, attention = slot_read(
            features, *statistics, queries * gamma, logits, with_attention=with_attention
        )
        return self.values((means * gamma + beta).to(slots.dtype)), attention
