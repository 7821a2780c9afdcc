"""Cross-attention of a map to few vectors that have absorbed its projections.

With keys k and values v of a head, attention's logits Wq LN(x) . k are z . (gamma Wq^T k) + beta .
Wq^T k, where z is LayerNorm's normalised input, and its output Wo sum(p v) is sum(p Wo v). So the
projections of every position become projections of the vectors, computed once per sampler run.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from slotcli.kernels import dispatch, reference

MOST_WEIGHTS = 256  # per position, in the Triton kernel


def slot_cross_attention(
    x: Float[Tensor, "b p c"],
    queries: Float[Tensor, "b m c"],
    offset: Float[Tensor, "b m"],
    values: Float[Tensor, "b m c"],
    *,
    heads: int,
    eps: float,
) -> Float[Tensor, "b p c"]:
    """x + sum over heads of softmax(z . queries + offset) values.

    z is x normalised over c. m is n times heads, heads innermost: the softmax is over each head's
    n. Has no gradient; ignores autocast. Vaswani et al. 2017, with x's projections absorbed.
    """
    return torch.ops.slotcli.slot_cross_attention(x, queries, offset, values, heads, eps)


def absorbing_pays(
    device: torch.device, *, frames: int, positions: int, channels: int, slots: int, heads: int
) -> bool:
    """Whether absorbed weights are faster, if many calls amortise the cost of absorbing them.

    A position costs 2 c n heads multiplications instead of 2 c^2 + 2 c n, but every frame reads
    matrices of its own. On a GPU that traffic matters: there maps have to be large or frames few,
    and the weights per position few enough for the kernel.
    """
    if slots * heads >= channels + slots:
        return False
    if device.type == "cpu":
        return True
    return _fits(slots, heads) and (frames <= 2 or 2 * positions >= channels)


def padded_sizes(slots: int, heads: int) -> tuple[int, int]:
    """Slots and heads, padded for the Triton kernel to powers of 2, slots to at least 16."""
    return max(16, 1 << (slots - 1).bit_length()), 1 << (heads - 1).bit_length()


def _fits(slots: int, heads: int) -> bool:
    padded_slots, padded_heads = padded_sizes(slots, heads)
    return padded_slots * padded_heads <= MOST_WEIGHTS


torch.library.define(
    "slotcli::slot_cross_attention",
    "(Tensor x, Tensor queries, Tensor offset, Tensor values, int heads, float eps) -> Tensor",
)


@torch.library.impl("slotcli::slot_cross_attention", ("cpu", "cuda"))
def _forward(
    x: Tensor, queries: Tensor, offset: Tensor, values: Tensor, heads: int, eps: float
) -> Tensor:
    if dispatch.takes_triton("slot_cross_attention", x.device, _unsupported(x, queries, heads)):
        from slotcli.kernels import triton_slot_cross_attention

        return triton_slot_cross_attention.forward(x, queries, offset, values, heads, eps)
    with torch.autocast(x.device.type, enabled=False):
        return reference.slot_cross_attention(x, queries, offset, values, heads, eps)


def _unsupported(x: Tensor, queries: Tensor, heads: int) -> str | None:
    channels, slots = x.shape[-1], queries.shape[1] // heads
    if x.dtype not in (torch.float32, torch.bfloat16):
        return f"it has no kernel for {x.dtype}"
    if channels % 64 or not _fits(slots, heads):
        return f"it has no kernel for {heads} heads over {channels} channels and {slots} slots"
    return None


@torch.library.register_fake("slotcli::slot_cross_attention")
def _forward_fake(
    x: Tensor, queries: Tensor, offset: Tensor, values: Tensor, heads: int, eps: float
) -> Tensor:
    return x.new_empty(x.shape)


def _differentiate(ctx, grad: Tensor) -> None:
    raise NotImplementedError("slot_cross_attention has no gradient: train with keys and values")


torch.library.register_autograd("slotcli::slot_cross_attention", _differentiate)
