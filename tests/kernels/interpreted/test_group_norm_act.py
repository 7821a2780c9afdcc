"""The Triton group norm against torch's in float64: outputs and gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from slotcli.kernels import group_norm_act
from slotcli.kernels.dispatch import use_backend
from slotcli.kernels.group_norm_act import Activation

Guarded = Callable[..., Tensor]

# Frames, channels, size, groups: several tiles and stretches, ragged; one position; a channel each.
SHAPES = [(1, 96, (7, 11), 8), (1, 16, (1, 1), 4), (3, 16, (5, 3), 16), (2, 80, (9, 5), 1)]
TOLERANCES = {torch.float32: 3e-6, torch.bfloat16: 6e-3}
FORMS: list[tuple[Activation, bool]] = [
    ("silu", True),
    ("relu", True),
    ("silu", False),
    ("none", False),
]
# Every shape in every form, and each of either at both precisions: the interpreter is slow.
CASES = [
    (shape, list(TOLERANCES)[(place // 2 + number) % 2], *form)
    for place, shape in enumerate(SHAPES)
    for number, form in enumerate(FORMS)
]


def make(
    b: int, c: int, size: tuple[int, int], dtype: torch.dtype, distance: float = 1
) -> dict[str, Tensor]:
    """Maps whose channels have means and scales of their own; parameters; and a gradient."""
    rng = torch.Generator().manual_seed(b + c + size[0])

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng)

    x = noise(b, c, *size) * noise(b, c, 1, 1).exp() + distance * noise(b, c, 1, 1)
    return {
        "x": x.to(dtype),
        "weight": 1 + noise(c) / 2,
        "bias": noise(c),
        "shift": noise(b, c),
        "residual": noise(b, c, *size).to(dtype),
        "grad": noise(b, c, *size).to(dtype),
    }


def run(
    tensors: dict[str, Tensor], groups: int, activation: Activation, optional: bool
) -> dict[str, Tensor]:
    """Output and gradients by name."""
    leaves = {
        name: tensor.detach().requires_grad_()
        for name, tensor in tensors.items()
        if name != "grad" and (optional or name in ("x", "weight", "bias"))
    }
    y = group_norm_act(**leaves, groups=groups, eps=1e-5, activation=activation)
    gradients = torch.autograd.grad(y, list(leaves.values()), tensors["grad"])
    return {"y": y.detach(), **dict(zip(leaves, gradients, strict=True))}


def assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    for name, exact in wanted.items():
        assert found[name].isfinite().all(), name
        error = (found[name].double() - exact).norm()
        # The gradient of a shift is 0 where a group is one channel.
        assert error <= tolerance * max(exact.norm().item(), exact.numel() ** 0.5), name


@pytest.mark.parametrize(("shape", "dtype", "activation", "optional"), CASES)
def test_it_agrees_with_the_reference(
    guarded: Guarded,
    shape: tuple[int, int, tuple[int, int], int],
    dtype: torch.dtype,
    activation: Activation,
    optional: bool,
) -> None:
    *sizes, groups = shape
    tensors = make(*sizes, dtype)
    with use_backend("reference"):
        exact = {name: tensor.double() for name, tensor in tensors.items()}
        wanted = run(exact, groups, activation, optional)
    with use_backend("triton"):
        maps = {
            name: guarded(tensor, innermost=1 if tensor.ndim == 4 else -1)
            for name, tensor in tensors.items()
        }
        found = run(maps, groups, activation, optional)
    assert found["y"].dtype == found["x"].dtype == dtype
    assert found["y"].is_contiguous(memory_format=torch.channels_last)
    assert_close(found, wanted, TOLERANCES[dtype])


def test_parameters_and_shift_may_be_bfloat16_too() -> None:
    tensors = {name: t.bfloat16() for name, t in make(2, 32, (4, 5), torch.bfloat16).items()}
    with use_backend("reference"):
        wanted = run({name: t.double() for name, t in tensors.items()}, 8, "silu", True)
    with use_backend("triton"):
        found = run(tensors, 8, "silu", True)
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}
    assert_close(found, wanted, 6e-3)


def test_a_mean_far_from_0_does_not_drown_the_variance() -> None:
    tensors = make(1, 16, (8, 8), torch.float32, distance=300)
    tensors["x"] = tensors["x"].mean((2, 3), keepdim=True) + tensors["residual"]
    with use_backend("reference"):
        wanted = run({name: t.double() for name, t in tensors.items()}, 16, "silu", False)
    with use_backend("triton"):
        found = run(tensors, 16, "silu", False)
    assert_close(found, wanted, 3e-5)


def test_the_number_of_stretches_changes_nothing_but_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from slotcli.kernels import triton_group_norm_act

    tensors = make(2, 16, (10, 10), torch.float32)
    results = []
    for splits in ((1, 128), (4, 32)):
        monkeypatch.setattr(triton_group_norm_act, "_splits", lambda *_, splits=splits: splits)
        with use_backend("triton"):
            results.append(run(tensors, 4, "silu", True))
    torch.testing.assert_close(*results, atol=2e-6, rtol=1e-5)
