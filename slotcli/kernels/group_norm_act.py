"""Group normalisation fused with shift, residual and activation, in channels_last."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from slotcli.kernels import dispatch, reference

Activation = Literal["none", "relu", "silu"]


def group_norm_act(
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, " c"],
    bias: Float[Tensor, " c"],
    *,
    groups: int,
    eps: float,
    activation: Activation = "none",
    shift: Float[Tensor, "b c"] | None = None,
    residual: Float[Tensor, "b c h w"] | None = None,
) -> Float[Tensor, "b c h w"]:
    """activation(group_norm(x + shift) * weight + bias + residual), in channels_last.

    The result has x's dtype, whatever the parameters' dtype, also under autocast; statistics are
    float32, float64 for such inputs. x and residual in another memory format are copied first.
    Wu and He 2018.
    """
    plain = (
        x.device.type == "cpu" and not dispatch.is_interpreted() and not _takes_triton(x, groups)
    )
    if plain and not torch.compiler.is_exporting():
        if not torch.is_grad_enabled():
            # Dispatch of a custom operation costs a fifth of the time on a map of 4 x 4.
            residual = None if residual is None else _last(residual)
            return reference.group_norm_act(
                _last(x), weight, bias, shift, residual, groups, eps, activation
            )[0]
        if x.dtype == weight.dtype:
            # The operation's backward recomputes the activation's input; on a CPU, where memory is
            # plentiful, saving it instead takes up to a third off the time.
            return _kept_for_backward(x, weight, bias, groups, eps, activation, shift, residual)
    y, _, _ = torch.ops.slotcli.group_norm_act(
        x, weight, bias, shift, residual, groups, eps, activation
    )
    return y


def _kept_for_backward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    eps: float,
    activation: Activation,
    shift: Tensor | None,
    residual: Tensor | None,
) -> Tensor:
    moved = x if shift is None else x + shift[:, :, None, None]
    y = F.group_norm(moved, groups, weight, bias, eps)
    y = y if residual is None else y + residual
    y = {"none": lambda map: map, "relu": F.relu, "silu": F.silu}[activation](y)
    return _last(y.to(x.dtype))


torch.library.define(
    "slotcli::group_norm_act",
    "(Tensor x, Tensor weight, Tensor bias, Tensor? shift, Tensor? residual, int groups, float eps,"
    " str activation) -> (Tensor y, Tensor mean, Tensor rstd)",
)
torch.library.define(
    "slotcli::group_norm_act_backward",
    "(Tensor grad, Tensor x, Tensor weight, Tensor bias, Tensor? shift, Tensor? residual,"
    " Tensor mean, Tensor rstd, str activation) -> (Tensor grad_x, Tensor grad_weight,"
    " Tensor grad_bias, Tensor grad_shift, Tensor grad_residual)",
)


@torch.library.impl("slotcli::group_norm_act", ("cpu", "cuda"))
def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    shift: Tensor | None,
    residual: Tensor | None,
    groups: int,
    eps: float,
    activation: str,
) -> tuple[Tensor, Tensor, Tensor]:
    if activation not in get_args(Activation):
        raise ValueError(f"no such activation: {activation}")
    if _takes_triton(x, groups):
        from slotcli.kernels import triton_group_norm_act

        form = triton_group_norm_act.forward
    else:
        form = reference.group_norm_act
    residual = None if residual is None else _last(residual)
    return form(_last(x), weight, bias, shift, residual, groups, eps, activation)


@torch.library.impl("slotcli::group_norm_act_backward", ("cpu", "cuda"))
def _backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    shift: Tensor | None,
    residual: Tensor | None,
    mean: Tensor,
    rstd: Tensor,
    activation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    if _takes_triton(x, mean.shape[1]):
        from slotcli.kernels import triton_group_norm_act

        form = triton_group_norm_act.backward
    else:
        form = reference.group_norm_act_backward
    residual = None if residual is None else _last(residual)
    grad_x, grad_weight, grad_bias, grad_shift, grad_residual = form(
        _last(grad), _last(x), weight, bias, shift, residual, mean, rstd, activation
    )
    none = mean.new_empty(0), x.new_empty(0)  # the operation's schema has no optional results
    return (
        grad_x,
        grad_weight,
        grad_bias,
        none[0] if grad_shift is None else grad_shift,
        none[1] if grad_residual is None else grad_residual,
    )


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _takes_triton(x: Tensor, groups: int) -> bool:
    unsupported = None
    if x.dtype not in (torch.float32, torch.bfloat16):
        unsupported = f"it has no kernel for {x.dtype}"
    elif x.shape[1] % 16 or x.shape[1] // groups > 128:
        unsupported = f"it has no kernel for {x.shape[1]} channels in {groups} groups"
    return dispatch.takes_triton("group_norm_act", x.device, unsupported)


@torch.library.register_fake("slotcli::group_norm_act")
def _forward_fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    shift: Tensor | None,
    residual: Tensor | None,
    groups: int,
    eps: float,
    activation: str,
) -> tuple[Tensor, Tensor, Tensor]:
    wide = torch.promote_types(x.dtype, torch.float32)
    mean, rstd = (x.new_empty((x.shape[0], groups), dtype=wide) for _ in range(2))
    return _map_like(x), mean, rstd


@torch.library.register_fake("slotcli::group_norm_act_backward")
def _backward_fake(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    shift: Tensor | None,
    residual: Tensor | None,
    mean: Tensor,
    rstd: Tensor,
    activation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return (
        _map_like(x),
        mean.new_empty(x.shape[1]),
        mean.new_empty(x.shape[1]),
        mean.new_empty(0 if shift is None else x.shape[:2]),
        x.new_empty(0) if residual is None else _map_like(x),
    )


def _map_like(x: Tensor) -> Tensor:
    return x.new_empty(x.shape).to(memory_format=torch.channels_last)


def _save(ctx, inputs: tuple, output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, _, _, ctx.activation = inputs
    _, mean, rstd = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(mean, rstd)
    ctx.save_for_backward(*tensors, mean, rstd)


def _differentiate(ctx, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 8
    tensors = ctx.saved_tensors
    weight, bias, shift, residual = tensors[1:5]
    grad_x, grad_weight, grad_bias, grad_shift, grad_residual = (
        torch.ops.slotcli.group_norm_act_backward(grad, *tensors, ctx.activation)
    )
    return (
        grad_x,
        grad_weight.to(weight.dtype),
        grad_bias.to(bias.dtype),
        None if shift is None else grad_shift.to(shift.dtype),
        None if residual is None else grad_residual.to(residual.dtype),
        *(None, None, None),
    )


torch.library.register_autograd("slotcli::group_norm_act", _differentiate, setup_context=_save)
