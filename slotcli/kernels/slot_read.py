"""One read of slot attention, with LayerNorm and projections absorbed into queries and values.

Slot attention has keys Wk(gamma z + beta) and values Wv(gamma z + beta), where z is LayerNorm's
normalised input. With q' = gamma Wk^T q / sqrt(d) and c = beta . Wk^T q / sqrt(d) its logits are
z . q' + c, and its update is Wv(gamma R + beta), where R is the weighted mean of z. So the features
are read once and unprojected, and neither keys nor values nor z are ever materialised.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from slotcli.kernels import dispatch, reference
from slotcli.kernels.reference import READ_EPS

MOST_SLOTS = 16  # with more, the kernels run out of registers
MOST_WIDTH = 256


def row_statistics(
    inputs: Float[Tensor, "*b p d"], eps: float
) -> tuple[Float[Tensor, "*b p"], Float[Tensor, "*b p"]]:
    """Mean over d and 1 / sqrt(variance + eps), as in LayerNorm, in float32 or wider.

    They carry no gradient: `slot_read` adds it to that of the inputs.
    """
    return torch.ops.slotcli.row_statistics(inputs.detach(), eps)


def slot_read(
    inputs: Float[Tensor, "b p d"],
    mean: Float[Tensor, "b p"],
    rstd: Float[Tensor, "b p"],
    queries: Float[Tensor, "b n d"],
    bias: Float[Tensor, "b n"],
    *,
    with_attention: bool,
    eps: float = READ_EPS,
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n _"]]:
    """Each slot's weighted mean of z = rstd (inputs - mean), and its attention, [b n p].

    Slots compete for positions: attention is the softmax over n of z . queries + bias and sums to 1
    over n. The weights are the attention plus `eps`, divided by their sum over p. Without
    `with_attention` the second result is [b n 0]. Both are float32, or float64 for such inputs.
    Under autocast inputs and queries are rounded. `mean` and `rstd` have to be the inputs'
    `row_statistics`: their gradient is part of the inputs'. Locatello et al. 2020, Algorithm 1.
    """
    device = inputs.device.type
    # is_autocast_enabled raises for the meta device, and torch 2.11 cannot compile that call.
    can_autocast = device != "meta" and inputs.dtype == torch.float32
    if can_autocast and torch.is_autocast_enabled(device):
        inputs = inputs.to(torch.get_autocast_dtype(device))
    read, attention, _ = torch.ops.slotcli.slot_read(
        inputs, mean, rstd, queries.to(inputs.dtype), bias.to(mean.dtype), with_attention, eps
    )
    return read, attention


torch.library.define(
    "slotcli::row_statistics", "(Tensor inputs, float eps) -> (Tensor mean, Tensor rstd)"
)
torch.library.define(
    "slotcli::slot_read",
    "(Tensor inputs, Tensor mean, Tensor rstd, Tensor queries, Tensor bias, bool with_attention,"
    " float eps=1e-6) -> (Tensor read, Tensor attention, Tensor mass)",
)
torch.library.define(
    "slotcli::slot_read_backward",
    "(Tensor grad_read, Tensor? grad_attention, Tensor inputs, Tensor mean, Tensor rstd,"
    " Tensor queries, Tensor bias, Tensor read, Tensor mass, float eps=1e-6)"
    " -> (Tensor grad_inputs, Tensor grad_queries, Tensor grad_bias)",
)


@torch.library.impl("slotcli::row_statistics", ("cpu", "cuda"))
def _statistics(inputs: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    if _takes_triton("row_statistics", inputs):
        from slotcli.kernels import triton_slot_read

        return triton_slot_read.row_statistics(inputs, eps)
    with _as_it_is(inputs):
        return reference.row_statistics(inputs, eps)


@torch.library.impl("slotcli::slot_read", ("cpu", "cuda"))
def _forward(
    inputs: Tensor,
    mean: Tensor,
    rstd: Tensor,
    queries: Tensor,
    bias: Tensor,
    with_attention: bool,
    eps: float = READ_EPS,
) -> tuple[Tensor, Tensor, Tensor]:
    if _takes_triton("slot_read", inputs, queries.shape[1]):
        from slotcli.kernels import triton_slot_read

        return triton_slot_read.forward(inputs, mean, rstd, queries, bias, with_attention, eps)
    with _as_it_is(inputs):
        read, attention, mass = reference.slot_read(inputs, mean, rstd, queries, bias, eps)
    return read, attention if with_attention else attention.new_empty((*mass.shape, 0)), mass


@torch.library.impl("slotcli::slot_read_backward", ("cpu", "cuda"))
def _backward(
    grad_read: Tensor,
    grad_attention: Tensor | None,
    inputs: Tensor,
    mean: Tensor,
    rstd: Tensor,
    queries: Tensor,
    bias: Tensor,
    read: Tensor,
    mass: Tensor,
    eps: float = READ_EPS,
) -> tuple[Tensor, Tensor, Tensor]:
    tensors = (grad_read, grad_attention, inputs, mean, rstd, queries, bias, read, mass)
    if _takes_triton("slot_read", inputs, queries.shape[1]):
        from slotcli.kernels import triton_slot_read

        return triton_slot_read.backward(*tensors, eps)
    with _as_it_is(inputs):
        return reference.slot_read_backward(*tensors, eps)


def _as_it_is(inputs: Tensor) -> torch.autocast:
    """Disables autocast, which would also round the sums over positions."""
    return torch.autocast(inputs.device.type, enabled=False)


def _takes_triton(operation: str, inputs: Tensor, slots: int = 1) -> bool:
    width = inputs.shape[-1]
    unsupported = None
    if inputs.dtype not in (torch.float32, torch.bfloat16):
        unsupported = f"it has no kernel for {inputs.dtype}"
    elif slots > MOST_SLOTS or width > MOST_WIDTH:
        unsupported = f"{slots} slots of {width} numbers are more than {MOST_SLOTS} of {MOST_WIDTH}"
    return dispatch.takes_triton(operation, inputs.device, unsupported)


@torch.library.register_fake("slotcli::row_statistics")
def _statistics_fake(inputs: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    wide = torch.promote_types(inputs.dtype, torch.float32)
    return inputs.new_empty(inputs.shape[:-1], dtype=wide), inputs.new_empty(
        inputs.shape[:-1], dtype=wide
    )


@torch.library.register_fake("slotcli::slot_read")
def _forward_fake(
    inputs: Tensor,
    mean: Tensor,
    rstd: Tensor,
    queries: Tensor,
    bias: Tensor,
    with_attention: bool,
    eps: float = READ_EPS,
) -> tuple[Tensor, Tensor, Tensor]:
    positions = inputs.shape[1] if with_attention else 0
    return (
        mean.new_empty(queries.shape),
        mean.new_empty((*bias.shape, positions)),
        mean.new_empty(bias.shape),
    )


@torch.library.register_fake("slotcli::slot_read_backward")
def _backward_fake(
    grad_read: Tensor,
    grad_attention: Tensor | None,
    inputs: Tensor,
    mean: Tensor,
    rstd: Tensor,
    queries: Tensor,
    bias: Tensor,
    read: Tensor,
    mass: Tensor,
    eps: float = READ_EPS,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        inputs.new_empty(inputs.shape),
        queries.new_empty(queries.shape),
        bias.new_empty(bias.shape),
    )


def _save(ctx, inputs: tuple, output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, ctx.with_attention, ctx.eps = inputs
    read, _, mass = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(mass)
    ctx.save_for_backward(*tensors, read, mass)


def _differentiate(
    ctx, grad_read: Tensor | None, grad_attention: Tensor | None, _: None
) -> tuple[Tensor | None, ...]:
    *tensors, read, mass = ctx.saved_tensors
    if grad_read is None:
        grad_read = torch.zeros_like(read)
    grad_inputs, grad_queries, grad_bias = torch.ops.slotcli.slot_read_backward(
        grad_read, grad_attention if ctx.with_attention else None, *tensors, read, mass, ctx.eps
    )
    return grad_inputs, None, None, grad_queries, grad_bias, None, None


torch.library.register_autograd("slotcli::slot_read", _differentiate, setup_context=_save)
