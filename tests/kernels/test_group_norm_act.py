"""The group norm against a loop in float64, and as an operation that torch knows all about."""

import jaxtyping
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.library import opcheck

from slotcli.kernels import dispatch, group_norm_act
from slotcli.kernels.group_norm_act import Activation
from slotcli.layers import group_norm

pytestmark = pytest.mark.slow

ACTIVATIONS = {"none": lambda z: z, "relu": F.relu, "silu": F.silu}
EPS = 1e-5


def make(b: int, c: int, h: int, w: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Input, parameters, shift and residual; maps in channels_last."""
    rng = torch.Generator().manual_seed(b + c + h + w)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)

    def maps(*shape: int) -> Tensor:
        return noise(*shape).to(memory_format=torch.channels_last)

    x = maps(b, c, h, w) * (1 + noise(1, c, 1, 1).abs()) + noise(b, c, 1, 1)
    parameters = {"weight": noise(c), "bias": noise(c)}
    return {"x": x, **parameters, "shift": noise(b, c), "residual": maps(b, c, h, w)}


def by_hand(tensors: dict[str, Tensor], groups: int, activation: str) -> np.ndarray:
    x, weight, bias, shift, residual = (tensor.double().numpy() for tensor in tensors.values())
    y, each = np.empty_like(x), x.shape[1] // groups
    for b in range(len(x)):
        for g in range(groups):
            channels = range(g * each, (g + 1) * each)
            moved = {c: x[b, c] + shift[b, c] for c in channels}
            values = np.concatenate([moved[c].ravel() for c in channels])
            mean, deviation = values.mean(), np.sqrt(((values - values.mean()) ** 2).mean() + EPS)
            for c in channels:
                z = (moved[c] - mean) / deviation * weight[c] + bias[c] + residual[b, c]
                y[b, c] = {
                    "none": z,
                    "relu": np.maximum(z, 0),
                    "silu": z / (1 + np.exp(-z)),
                }[activation]
    return y


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("shape", "groups"), [((2, 8, 3, 5), 4), ((1, 6, 1, 1), 2)])
def test_it_agrees_with_a_loop(
    shape: tuple[int, int, int, int], groups: int, activation: Activation
) -> None:
    tensors = make(*shape)
    wanted = by_hand(tensors, groups, activation)
    found = group_norm_act(**tensors, groups=groups, eps=EPS, activation=activation)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    narrow = {name: tensor.float() for name, tensor in tensors.items()}
    found = group_norm_act(**narrow, groups=groups, eps=EPS, activation=activation)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("given", [(), ("shift",), ("residual",), ("shift", "residual")])
@pytest.mark.parametrize("kept", [False, True])
def test_gradients_are_those_of_the_parts(
    given: tuple[str, ...], activation: Activation, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the operation computes them, and as a CPU does that keeps what they need."""
    monkeypatch.setattr(dispatch, "is_interpreted", lambda: not kept)
    tensors = make(2, 8, 3, 5)
    leaves = {
        name: tensor.requires_grad_()
        for name, tensor in tensors.items()
        if name in ("x", "weight", "bias", *given)
    }
    moved = leaves["x"] + leaves["shift"][:, :, None, None] if "shift" in given else leaves["x"]
    normed = F.group_norm(moved, 4, leaves["weight"], leaves["bias"], EPS)
    wanted = ACTIVATIONS[activation](normed + leaves.get("residual", 0))
    found = group_norm_act(**leaves, groups=4, eps=EPS, activation=activation)
    torch.testing.assert_close(found, wanted)
    upstream = torch.randn_like(wanted)
    for pair in zip(
        torch.autograd.grad(found, list(leaves.values()), upstream),
        torch.autograd.grad(wanted, list(leaves.values()), upstream),
        strict=True,
    ):
        torch.testing.assert_close(*pair)


@pytest.mark.parametrize("size", [(5, 7), (33, 32)])
def test_bfloat16_has_statistics_in_float32(size: tuple[int, int]) -> None:
    """Small maps and large ones are computed in different ways."""
    tensors = make(2, 16, *size, dtype=torch.bfloat16)
    del tensors["shift"]
    y, mean, rstd = torch.ops.slotcli.group_norm_act(
        *(tensors[name] for name in ("x", "weight", "bias")),
        *(None, tensors["residual"], 4, EPS, "silu"),
    )
    assert (y.dtype, mean.dtype, rstd.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    wide = {name: tensor.double() for name, tensor in tensors.items()}
    groups = wide["x"].unflatten(1, (4, -1)).flatten(2)
    torch.testing.assert_close(mean.double(), groups.mean(2), atol=1e-5, rtol=1e-5)
    deviation = (groups.var(2, correction=0) + EPS).sqrt()
    torch.testing.assert_close(1 / rstd.double(), deviation, atol=1e-5, rtol=1e-5)
    wanted = group_norm_act(**wide, groups=4, eps=EPS, activation="silu")
    assert (y - wanted).norm() < 6e-3 * wanted.norm()


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_come_out_with_the_channels_innermost(dtype: torch.dtype) -> None:
    tensors = make(2, 8, 5, 6, dtype)
    last = group_norm_act(**tensors, groups=4, eps=EPS, activation="relu")
    tensors |= {name: tensors[name].contiguous() for name in ("x", "residual")}
    first = group_norm_act(**tensors, groups=4, eps=EPS, activation="relu")
    for y in (last, first):
        assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(first, last, rtol=0, atol=0)


def test_an_unknown_activation_is_refused() -> None:
    tensors = make(1, 4, 2, 2)
    with pytest.raises(ValueError, match="tanh"):
        torch.ops.slotcli.group_norm_act(*tensors.values(), 2, EPS, "tanh")


def test_under_autocast_parameters_keep_their_type() -> None:
    convolution = nn.Conv2d(3, 16, 3)
    norm = group_norm(16, activation="silu")
    with torch.autocast("cpu", torch.bfloat16):
        y = norm(convolution(torch.randn(2, 3, 6, 6)))
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert norm.weight.grad is not None
    assert norm.weight.grad.dtype == torch.float32


# Raised by the tracer itself, for any operation.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("activation", ["none", "silu"])
@pytest.mark.parametrize("optional", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_finds_nothing_wrong_with_the_operation(
    dtype: torch.dtype, optional: bool, activation: str
) -> None:
    tensors = [tensor.requires_grad_() for tensor in make(2, 8, 3, 5, dtype).values()]
    inputs = tensors if optional else [*tensors[:3], None, None]
    opcheck(torch.ops.slotcli.group_norm_act.default, (*inputs, 4, EPS, activation))
    detached = [tensor if tensor is None else tensor.detach() for tensor in inputs]
    y, mean, rstd = torch.ops.slotcli.group_norm_act(*detached, 4, EPS, activation)
    opcheck(
        torch.ops.slotcli.group_norm_act_backward.default,
        (torch.randn_like(y), *detached, mean, rstd, activation),
    )


def activate(x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor, residual: Tensor) -> Tensor:
    extras = {"shift": shift, "residual": residual}
    return group_norm_act(x, weight, bias, groups=4, eps=EPS, activation="silu", **extras)


def test_it_is_compiled_whole_and_for_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    # What checks shapes in tests looks into tensors, which a compiler cannot follow.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    compiled = torch.compile(activate, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 8, 3, 5), (3, 8, 4, 2)):
        tensors = [tensor.requires_grad_() for tensor in make(*shape).values()]
        torch.testing.assert_close(compiled(*tensors), activate(*tensors))
        found = torch.autograd.grad(compiled(*tensors).square().sum(), tensors)
        wanted = torch.autograd.grad(activate(*tensors).square().sum(), tensors)
        torch.testing.assert_close(found, wanted)
    torch._dynamo.reset()


@torch.no_grad()
def test_it_is_exported_as_one_operation() -> None:
    x = make(2, 32, 3, 5, torch.float32)["x"]
    module = group_norm(32, activation="silu")
    exported = torch.export.export(module, (x,))
    assert "slotcli.group_norm_act.default" in str(exported.graph)
    torch.testing.assert_close(exported.module()(x), module(x))


def test_shapes_on_a_gpu_that_is_not_there() -> None:
    with FakeTensorMode():
        tensors = [tensor.to("cuda") for tensor in make(2, 8, 3, 5, torch.bfloat16).values()]
        y, mean, rstd = torch.ops.slotcli.group_norm_act(*tensors, 4, EPS, "silu")
        gradients = torch.ops.slotcli.group_norm_act_backward(y, *tensors, mean, rstd, "silu")
    assert (y.shape, y.dtype, y.device.type) == ((2, 8, 3, 5), torch.bfloat16, "cuda")
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert mean.shape == rstd.shape == (2, 4)
    for gradient, tensor in zip(gradients, tensors, strict=True):
        assert gradient.shape == tensor.shape


def test_the_module_is_a_group_norm_with_an_activation() -> None:
    module, plain = group_norm(64, eps=1e-6, activation="relu"), nn.GroupNorm(32, 64, eps=1e-6)
    plain.load_state_dict(module.state_dict())  # strict
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    plain.load_state_dict(module.state_dict())
    tensors = make(2, 64, 4, 4, torch.float32)
    x, shift, residual = tensors["x"], tensors["shift"], tensors["residual"]
    wanted = F.relu(plain(x + shift[:, :, None, None]) + residual)
    torch.testing.assert_close(module(x, shift=shift, residual=residual), wanted)
