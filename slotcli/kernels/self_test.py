"""Compares every operation on this machine's backend with the reference in float64."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import device as Device

from slotcli.kernels import (
    group_norm_act,
    mask_argmax,
    nearest_code,
    row_statistics,
    slot_cross_attention,
    slot_read,
)
from slotcli.kernels.dispatch import use_backend

# Relative error due to rounding: of float32 sums, and of inputs to bfloat16 products.
LIMITS = {torch.float32: 2e-5, torch.bfloat16: 2e-2}
DIFFERENT = 0.01  # fraction of indices that may differ, where two are equally good

_EPS = 1e-5


@dataclass(frozen=True)
class SelfTest:
    operation: str
    dtype: str
    error: float | None  # relative to the reference; maximum over outputs and gradients
    limit: float
    failure: str | None  # exception raised instead of a result

    @property
    def passed(self) -> bool:
        return self.error is not None and self.error <= self.limit


def self_test(device: Device) -> list[SelfTest]:
    """The error of every operation on `device`, in float32 and bfloat16, gradients included."""
    cases: dict[str, tuple[Callable[..., tuple[Tensor, ...]], list[tuple[int, ...]]]] = {
        "slot_read": (_slot_read, [(2, 70, 64), (2, 5, 64), (2, 5)]),
        "slot_cross_attention": (
            _cross_attention,
            [(2, 33, 64), (2, 10, 64), (2, 10), (2, 10, 64)],
        ),
        "group_norm_act": (_norm, [(2, 64, 6, 5), (64,), (64,), (2, 64), (2, 64, 6, 5)]),
        "nearest_code": (_nearest_code, [(300, 3), (200, 3)]),
        "mask_argmax": (_mask_argmax, [(2, 5, 8, 8)]),
    }
    return [
        _try(name, operation, shapes, device, dtype)
        for name, (operation, shapes) in cases.items()
        for dtype in LIMITS
    ]


def _try(
    name: str,
    operation: Callable[..., tuple[Tensor, ...]],
    shapes: list[tuple[int, ...]],
    device: Device,
    dtype: torch.dtype,
) -> SelfTest:
    rng = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=rng).to(dtype) for shape in shapes]
    with use_backend("reference"):
        wanted = _results(operation, [tensor.double() for tensor in inputs])
    limit, error, failure = LIMITS[dtype], None, None
    try:
        results = _results(operation, [tensor.to(device) for tensor in inputs])
    except Exception as raised:  # compilers and drivers raise exceptions of any type
        failure = f"{type(raised).__name__}: {raised}"
    else:
        error = max(relative_error(*pair) for pair in zip(results, wanted, strict=True))
        limit = limit if results[0].is_floating_point() else DIFFERENT
    return SelfTest(name, str(dtype).removeprefix("torch."), error, limit, failure)


def _results(operation: Callable[..., tuple[Tensor, ...]], inputs: list[Tensor]) -> list[Tensor]:
    """Outputs, and the gradients of all inputs if the operation has any, on the CPU."""
    leaves = [tensor.requires_grad_(operation in _DIFFERENTIABLE) for tensor in inputs]
    outputs = operation(*leaves)
    results = list(outputs)
    if operation in _DIFFERENTIABLE:
        rng = torch.Generator().manual_seed(1)
        weights = [torch.randn(output.shape, generator=rng).to(output) for output in outputs]
        results += torch.autograd.grad(outputs, leaves, weights)
    return [tensor.detach().cpu() for tensor in results]


def relative_error(result: Tensor, wanted: Tensor) -> float:
    """Norm of the difference relative to that of `wanted`; of indices the fraction that differs."""
    if not result.is_floating_point():
        return (result != wanted).double().mean().item()
    result, wanted = result.double(), wanted.double()
    error = torch.linalg.vector_norm(result - wanted) / torch.linalg.vector_norm(wanted)
    return error.nan_to_num(torch.inf).item()


def _slot_read(inputs: Tensor, queries: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    statistics = row_statistics(inputs, _EPS)
    # Logits of about 2: at 8, rounding dominates a softmax in bfloat16.
    return slot_read(inputs, *statistics, queries / 4, bias, with_attention=True)


def _cross_attention(
    x: Tensor, queries: Tensor, offset: Tensor, values: Tensor
) -> tuple[Tensor, ...]:
    return (slot_cross_attention(x, queries, offset, values, heads=2, eps=_EPS),)


def _norm(
    x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor, residual: Tensor
) -> tuple[Tensor, ...]:
    extras = {"shift": shift, "residual": residual}
    return (group_norm_act(x, weight, bias, groups=8, eps=_EPS, activation="silu", **extras),)


def _nearest_code(latents: Tensor, codes: Tensor) -> tuple[Tensor, ...]:
    return (nearest_code(latents, codes),)


def _mask_argmax(attention: Tensor) -> tuple[Tensor, ...]:
    return (mask_argmax(attention, (32, 20)),)


_DIFFERENTIABLE = (_slot_read, _norm)
