"""Slot attention: slots compete for the positions of a frame. Locatello et al. 2020, Alg. 1."""

from jaxtyping import Float
from torch import Tensor, nn

from slotcli.kernels import row_statistics, slot_read
from slotcli.kernels.reference import READ_EPS


class SlotAttention(nn.Module):
    """Refines slots against one frame's features; the corrector of the encoder.

    `normalised_state`: the GRU's state is the normalised slots, as in SlotContrast and VideoSAUR.
    The MLP after it is `mlp` slot widths wide; 0: there is none. `eps` is added to the attention
    before it is normalised over positions.
    """

    def __init__(
        self,
        slot_dim: int,
        normalised_state: bool = False,
        mlp: int = 2,
        eps: float = READ_EPS,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.normalised_state = normalised_state
        self.norm_inputs = nn.LayerNorm(slot_dim)
        self.norm_slots = nn.LayerNorm(slot_dim)
        self.queries = nn.Linear(slot_dim, slot_dim, bias=False)
        self.keys = nn.Linear(slot_dim, slot_dim, bias=False)
        self.values = nn.Linear(slot_dim, slot_dim, bias=False)
        self.gru = nn.GRUCell(slot_dim, slot_dim)
        self.mlp: nn.Sequential | None = None
        if mlp:
            self.mlp = nn.Sequential(
                nn.LayerNorm(slot_dim),
                nn.Linear(slot_dim, mlp * slot_dim),
                nn.ReLU(),
                nn.Linear(mlp * slot_dim, slot_dim),
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
        permitted: Float[Tensor, "b n p"] | None = None,
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n p"]]:
        """Slots after `iterations` (at least 1) reads, and the last read's attention.

        `bias` is added to each slot's logits at all positions. The attention is multiplied by
        `permitted`, from 0 to 1 and at each position above 0 for a slot, before it is normalised.
        """
        for iteration in range(iterations):
            updates, attention = self._read(
                slots,
                features,
                statistics,
                bias,
                permitted,
                with_attention=iteration == iterations - 1,
            )
            # EN1: the slots themselves, unless a model was trained with their normalised form.
            state = self.norm_slots(slots) if self.normalised_state else slots
            slots = self.gru(updates.flatten(0, 1), state.flatten(0, 1)).view_as(slots)
            if self.mlp is not None:
                slots = slots + self.mlp(slots)
        return slots, attention

    def _read(
        self,
        slots: Float[Tensor, "b n d"],
        features: Float[Tensor, "b p d"],
        statistics: tuple[Float[Tensor, "b p"], Float[Tensor, "b p"]],
        bias: Float[Tensor, " n"] | None,
        permitted: Float[Tensor, "b n p"] | None,
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
        if permitted is None:
            means, attention = slot_read(
                features,
                *statistics,
                queries * gamma,
                logits,
                with_attention=with_attention,
                eps=self.eps,
            )
        else:
            means, attention = _permitted_read(
                features, statistics, queries * gamma, logits, permitted, self.eps
            )
        return self.values((means * gamma + beta).to(slots.dtype)), attention


def _permitted_read(
    features: Float[Tensor, "b p d"],
    statistics: tuple[Float[Tensor, "b p"], Float[Tensor, "b p"]],
    queries: Float[Tensor, "b n d"],
    bias: Float[Tensor, "b n"],
    permitted: Float[Tensor, "b n p"],
    eps: float,
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n p"]]:
    """`slot_read` with attention multiplied by `permitted`: for single frames, without a kernel."""
    mean, rstd = statistics
    normalised = (features - mean[..., None]) * rstd[..., None]
    logits = queries @ normalised.transpose(1, 2) + bias[..., None]
    attention = (logits + permitted.log()).softmax(dim=1)
    weights = attention + eps
    return (weights / weights.sum(-1, keepdim=True)) @ normalised, attention
