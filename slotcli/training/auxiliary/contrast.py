"""Slot contrastive loss: an auxiliary loss for slots that keep their identity over time."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

TEMPERATURE = 0.1


def slot_contrast(slots: Float[Tensor, "b t n d"]) -> Float[Tensor, ""]:
    """Cross-entropy of classifying a slot's predecessor among the slots of all clips' last frames.

    Logits are cosine similarities over a temperature of 0.1; at least two frames. The loss is
    log(b n) if all slots are equal. The direction is that of the authors' code (L8). Manasyan et
    al. 2025, Temporally Consistent Object-Centric Learning by Contrasting Slots.
    """
    b, t, n, _ = slots.shape
    directions = F.normalize(slots, dim=-1).transpose(0, 1).flatten(1, 2)  # t (b n) d
    logits = directions[1:] @ directions[:-1].transpose(1, 2) / TEMPERATURE
    predecessors = torch.arange(b * n, device=slots.device).expand(t - 1, -1)
    return F.cross_entropy(logits.flatten(0, 1), predecessors.flatten())
