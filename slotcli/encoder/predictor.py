"""Predictor: initialises a frame's slots from the previous frame's. Kipf et al. 2021 (SAVi)."""

from jaxtyping import Float
from torch import Tensor, nn

from slotcli.errors import ConfigError

HEADS = 4


class TransformerPredictor(nn.Module):
    """A pre-norm transformer over the slots of one frame: 4 heads, no final norm.

    With `identity_start` the untrained predictor returns its input. Raises ConfigError where
    slot_dim does not divide into the heads.
    """

    def __init__(
        self, slot_dim: int, layers: int, identity_start: bool = False, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if slot_dim % HEADS:
            raise ConfigError(
                f"slot_dim: {slot_dim} does not divide into the predictor's {HEADS} heads.",
                f"Choose a multiple of {HEADS}, or no predictor.",
            )
        layer = nn.TransformerEncoderLayer(
            slot_dim,
            nhead=HEADS,
            dim_feedforward=4 * slot_dim,
            dropout=dropout,
            norm_first=True,
            batch_first=True,
        )
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        if identity_start:
            for name, parameter in self.transformer.named_parameters():
                if "self_attn.out_proj" in name or "linear2" in name:
                    nn.init.zeros_(parameter)

    def forward(self, slots: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self.transformer(slots)
