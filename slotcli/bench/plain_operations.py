"""Each operation of kernels without optimisation: the eager baseline of all speed-ups.

Nothing is absorbed, cached or fused: every product of the formula is a product here.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from slotcli.diffusion.unet import Attention
from slotcli.kernels.group_norm_act import Activation
from slotcli.types import Size


def slot_read(
    queries: Float[Tensor, "b n d"],
    keys: Float[Tensor, "b p d"],
    values: Float[Tensor, "b p d"],
    bias: Float[Tensor, " n"] | None = None,
    eps: float = 1e-6,
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n p"]]:
    """Updates and attention, with `bias` on each slot's logits. Locatello et al. 2020, Alg. 1."""
    logits = torch.einsum("bnd,bpd->bnp", queries, keys) * queries.shape[-1] ** -0.5
    if bias is not None:
        logits = logits + bias[:, None]
    attention = logits.softmax(dim=1)
    weights = attention + eps
    weights = weights / weights.sum(dim=2, keepdim=True)
    return torch.einsum("bnp,bpd->bnd", weights, values), attention


def cross_attention(
    x: Float[Tensor, "b p c"],
    context: Float[Tensor, "b n d"],
    norm: nn.LayerNorm,
    attention: Attention,
) -> Float[Tensor, "b p c"]:
    """x plus its cross-attention to the context, with keys and values computed at every call."""
    return x + attention(norm(x), attention.project(context))


def group_norm_act(
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, " c"],
    bias: Float[Tensor, " c"],
    *,
    groups: int,
    eps: float,
    activation: Activation,
    shift: Float[Tensor, "b c"] | None = None,
    residual: Float[Tensor, "b c h w"] | None = None,
) -> Float[Tensor, "b c h w"]:
    """Shift, normalisation, residual and activation, one operation each."""
    if shift is not None:
        x = x + shift[:, :, None, None]
    y = F.group_norm(x, groups, weight, bias, eps)
    if residual is not None:
        y = y + residual
    if activation == "silu":
        return F.silu(y)
    return F.relu(y) if activation == "relu" else y


def nearest_code(
    latents: Float[Tensor, "rows c"], codes: Float[Tensor, "k c"]
) -> Int64[Tensor, " rows"]:
    """The full matrix of squared distances, at least in float32, and its argmin."""
    wide = torch.promote_types(latents.dtype, torch.float32)
    latents, codes = latents.to(wide), codes.to(wide)
    norms = latents.square().sum(dim=1, keepdim=True) + codes.square().sum(dim=1)
    return (norms - 2 * latents @ codes.T).argmin(dim=1)


def mask_argmax(attention: Float[Tensor, "t n h w"], size: Size) -> Int64[Tensor, "t H W"]:
    """A full-size map per slot, and the argmax over them."""
    return F.interpolate(attention, size=size, mode="bilinear", align_corners=False).argmax(dim=1)
