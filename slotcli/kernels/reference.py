"""The operations in plain torch: the specification that any faster version is held against."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from slotcli.types import Size

# Rows of the distance matrix held at once: 4,096 rows against 4,096 codes are 64 MiB in float32.
_CODE_ROWS = 4096


def slot_read(
    queries: Float[Tensor, "b n d"], keys: Float[Tensor, "b p d"], values: Float[Tensor, "b p d"]
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n p"]]:
    """One read of slot attention: each slot's weighted mean of the values, and the attention.

    Slots compete for positions (softmax over n); weights are then renormalised over positions.
    The attention returned is the softmax itself and sums to 1 over n. Locatello et al. 2020,
    Algorithm 1.
    """
    logits = torch.einsum("bnd,bpd->bnp", queries, keys).float() * queries.shape[-1] ** -0.5
    attention = logits.softmax(dim=1)
    weights = attention + 1e-6  # keeps the mean defined for a slot that nothing attends to
    weights = weights / weights.sum(dim=2, keepdim=True)
    return torch.einsum("bnp,bpd->bnd", weights.to(values.dtype), values), attention


def nearest_code(
    latents: Float[Tensor, "rows c"], codes: Float[Tensor, "k c"]
) -> Int64[Tensor, " rows"]:
    """Index of each row's nearest code by squared Euclidean distance; ties go to the first code."""
    half_norms = codes.square().sum(dim=1) / 2
    chunks = [
        # argmin |z - e|^2 = argmin |e|^2 / 2 - z.e, so z's own norm is never needed
        torch.addmm(half_norms, rows, codes.T, alpha=-1).argmin(dim=1)
        for rows in latents.split(_CODE_ROWS)
    ]
    return torch.cat(chunks)


def mask_argmax(attention: Float[Tensor, "t n h w"], size: Size) -> UInt8[Tensor, "t H W"]:
    """Index of the winning slot at each pixel of `size`, by bilinear upsampling of attention."""
    frames = [
        F.interpolate(frame[None].float(), size=size, mode="bilinear", align_corners=False)
        .argmax(dim=1)
        .to(torch.uint8)
        for frame in attention
    ]
    return torch.cat(frames)
