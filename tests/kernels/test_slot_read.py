"""The slot read against Algorithm 1 in float64, and as an operation that torch knows all about."""

import math

import jaxtyping
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.library import opcheck
from torch.utils.flop_counter import FlopCounterMode

from slotcli.errors import UnavailableError
from slotcli.kernels import dispatch, row_statistics, slot_read
from slotcli.kernels.flops import FLOPS

pytestmark = pytest.mark.slow

EPS = 1e-5
SHAPES = [(2, 5, 7, 6), (1, 1, 4, 3), (3, 4, 1, 8), (1, 1, 1, 2)]


def make(
    batch: int, slots: int, positions: int, width: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Features with a mean and a scale of their own in each row, queries, and a bias."""
    rng = torch.Generator().manual_seed(batch + slots + positions + width)
    features, queries, bias, row = (
        torch.randn(shape, generator=rng, dtype=torch.float64)
        for shape in (
            (batch, positions, width),
            (batch, slots, width),
            (batch, slots),
            (batch, positions, 2),
        )
    )
    features = features * row[..., :1].exp() + row[..., 1:]
    return features.to(dtype), (2 * queries).to(dtype), bias.to(dtype)


def read(
    features: Tensor, queries: Tensor, bias: Tensor, with_attention: bool = True
) -> tuple[Tensor, Tensor]:
    statistics = row_statistics(features, EPS)
    return slot_read(features, *statistics, queries, bias, with_attention=with_attention)


def read_by_hand(x: np.ndarray, q: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    batch, slots, width = q.shape
    positions = x.shape[1]
    means, attention = np.zeros((batch, slots, width)), np.zeros((batch, slots, positions))
    z = np.empty_like(x)
    for b in range(batch):
        for p in range(positions):
            variance = ((x[b, p] - x[b, p].mean()) ** 2).mean()
            z[b, p] = (x[b, p] - x[b, p].mean()) / math.sqrt(variance + EPS)
            logits = [float(q[b, n] @ z[b, p] + c[b, n]) for n in range(slots)]
            exps = [math.exp(logit - max(logits)) for logit in logits]
            for n in range(slots):
                attention[b, n, p] = exps[n] / sum(exps)
        for n in range(slots):
            total = sum(attention[b, n, p] + 1e-6 for p in range(positions))
            for p in range(positions):
                means[b, n] += (attention[b, n, p] + 1e-6) / total * z[b, p]
    return means, attention


@pytest.mark.parametrize("shape", SHAPES)
def test_it_agrees_with_a_loop(shape: tuple[int, int, int, int]) -> None:
    tensors = make(*shape)
    wanted, wanted_attention = read_by_hand(*(tensor.numpy() for tensor in tensors))
    means, attention = read(*tensors)
    np.testing.assert_allclose(means, wanted, atol=1e-12)
    np.testing.assert_allclose(attention, wanted_attention, atol=1e-12)
    means, attention = read(*(tensor.float() for tensor in tensors))
    np.testing.assert_allclose(means, wanted, atol=5e-6)
    np.testing.assert_allclose(attention, wanted_attention, atol=5e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_statistics_are_those_of_a_layer_norm(dtype: torch.dtype) -> None:
    features = make(2, 1, 9, 32, dtype)[0]
    mean, rstd = row_statistics(features, EPS)
    assert mean.dtype == rstd.dtype == torch.float32
    z = (features.double() - mean[..., None]) * rstd[..., None]
    wanted = F.layer_norm(features.double(), [32], eps=EPS)
    torch.testing.assert_close(z, wanted, atol=1e-5, rtol=1e-5)


def test_a_slot_that_nothing_attends_to_has_the_mean_of_all() -> None:
    features = torch.tensor([[[1.0, 3.0, 8.0], [5.0, 7.0, -1.0]]])
    means, attention = read(features, torch.zeros(1, 2, 3), torch.tensor([[200.0, 0.0]]))
    assert attention[0, 1].max() == 0
    wanted = F.layer_norm(features, [3], eps=EPS).mean(1)
    torch.testing.assert_close(means[0, 1:], wanted)


def test_attention_is_written_only_when_asked_for() -> None:
    tensors = make(2, 3, 5, 4)
    means, attention = read(*tensors, with_attention=False)
    assert attention.shape == (2, 3, 0)
    torch.testing.assert_close(means, read(*tensors)[0], rtol=0, atol=0)


def normalised_first(features: Tensor, queries: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The same by autograd alone, through a LayerNorm's own backward."""
    z = F.layer_norm(features, features.shape[-1:], eps=EPS)
    attention = (queries @ z.mT + bias[..., None]).softmax(1)
    weights = attention + 1e-6
    return weights / weights.sum(2, keepdim=True) @ z, attention


@pytest.mark.parametrize("shape", [*SHAPES, (2, 15, 33, 24)])
@pytest.mark.parametrize("uses", ["means", "attention", "both"])
def test_gradients_go_through_the_statistics(shape: tuple[int, int, int, int], uses: str) -> None:
    gradients = []
    for form in (normalised_first, read):
        tensors = [tensor.requires_grad_() for tensor in make(*shape)]
        means, attention = form(*tensors)
        rng = torch.Generator().manual_seed(7)
        of_means, of_attention = (
            (torch.randn(part.shape, generator=rng, dtype=part.dtype) * part).sum()
            for part in (means, attention)
        )
        loss = {"means": of_means, "attention": of_attention, "both": of_means + of_attention}
        gradients.append(torch.autograd.grad(loss[uses], tensors))
    for wanted, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-11, rtol=1e-9)


def test_eps_is_in_the_weights_and_their_gradients() -> None:
    results = []
    for own in (False, True):
        tensors = [tensor.requires_grad_() for tensor in make(2, 3, 5, 4)]
        features, queries, bias = tensors
        if own:
            statistics = row_statistics(features, EPS)
            means, _ = slot_read(
                features, *statistics, queries, bias, with_attention=False, eps=0.3
            )
        else:
            z = F.layer_norm(features, features.shape[-1:], eps=EPS)
            weights = (queries @ z.mT + bias[..., None]).softmax(1) + 0.3
            means = weights / weights.sum(2, keepdim=True) @ z
        results.append((means, *torch.autograd.grad(means.pow(3).sum(), tensors)))
    torch.testing.assert_close(*results, atol=1e-11, rtol=1e-9)


def test_gradients_without_attention_are_those_with_it() -> None:
    gradients = []
    for with_attention in (False, True):
        tensors = [tensor.requires_grad_() for tensor in make(2, 3, 5, 4)]
        means, _ = read(*tensors, with_attention)
        gradients.append(torch.autograd.grad(means.square().sum(), tensors))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)


def test_bfloat16_is_summed_up_in_float32() -> None:
    tensors = make(2, 8, 300, 64, torch.bfloat16)
    means, attention = read(*tensors)
    assert means.dtype == attention.dtype == torch.float32
    wanted, wanted_attention = read(*(tensor.double() for tensor in tensors))
    assert (means - wanted).norm() < 1e-2 * wanted.norm()
    assert (attention - wanted_attention).norm() < 2e-2 * wanted_attention.norm()


def test_autocast_rounds_the_features_and_not_their_statistics() -> None:
    features, queries, bias = make(2, 3, 50, 16, torch.float32)
    features += 100
    statistics = row_statistics(features, EPS)
    with torch.autocast("cpu", torch.bfloat16):
        found = slot_read(features, *statistics, queries, bias, with_attention=True)
    low = (features.bfloat16(), *statistics, queries.bfloat16(), bias)
    wanted = slot_read(*low, with_attention=True)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


# Raised by the tracer itself, for any operation.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("with_attention", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_finds_nothing_wrong_with_the_operation(
    dtype: torch.dtype, with_attention: bool
) -> None:
    features, queries, bias = make(2, 3, 5, 4, dtype)
    mean, rstd = row_statistics(features, EPS)
    bias = bias.to(mean.dtype).requires_grad_()
    tensors = (features.requires_grad_(), mean, rstd, queries.requires_grad_(), bias)
    opcheck(torch.ops.slotcli.slot_read.default, (*tensors, with_attention))
    detached = tuple(tensor.detach() for tensor in tensors)
    means, attention, mass = torch.ops.slotcli.slot_read(*detached, with_attention)
    grad_attention = torch.randn_like(attention) if with_attention else None
    opcheck(
        torch.ops.slotcli.slot_read_backward.default,
        (torch.randn_like(means), grad_attention, *detached, means, mass),
    )


def test_it_is_compiled_whole_and_for_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    # What checks shapes in tests looks into tensors, which a compiler cannot follow.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    compiled = torch.compile(read, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 3, 5, 4), (3, 2, 9, 6)):
        tensors = [tensor.requires_grad_() for tensor in make(*shape)]
        torch.testing.assert_close(compiled(*tensors), read(*tensors))
        (found,) = torch.autograd.grad(compiled(*tensors)[0].square().sum(), tensors[:1])
        (wanted,) = torch.autograd.grad(read(*tensors)[0].square().sum(), tensors[:1])
        torch.testing.assert_close(found, wanted)
    torch._dynamo.reset()


def test_shapes_alone_are_enough_on_the_meta_device() -> None:
    features, queries, bias = (tensor.to("meta").requires_grad_() for tensor in make(2, 3, 5, 4))
    means, attention = read(features, queries, bias)
    (means.sum() + attention.sum()).backward()
    assert features.grad is not None
    assert (means.shape, attention.shape, features.grad.shape) == ((2, 3, 4), (2, 3, 5), (2, 5, 4))


@pytest.mark.parametrize(
    ("slots", "dtype", "why"),
    [(17, torch.float32, "17 slots of 4 numbers"), (3, torch.float64, "no kernel for")],
)
def test_what_no_kernel_can_do_is_said(
    slots: int, dtype: torch.dtype, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, queries, bias = make(1, slots, 5, 4, dtype)
    statistics = row_statistics(features, EPS)
    monkeypatch.setattr(dispatch, "without_triton", lambda device: None)
    with dispatch.use_backend("triton"), pytest.raises(UnavailableError, match=why):
        slot_read(features, *statistics, queries, bias, with_attention=True)


class Reader(torch.nn.Module):
    def forward(self, features: Tensor, queries: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return read(features, queries, bias)


def test_it_is_exported_as_one_operation() -> None:
    tensors = make(2, 3, 5, 4)
    exported = torch.export.export(Reader(), tensors)
    assert "slotcli.slot_read.default" in str(exported.graph)
    torch.testing.assert_close(exported.module()(*tensors), read(*tensors))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shapes_on_a_gpu_that_is_not_there(dtype: torch.dtype) -> None:
    with FakeTensorMode():
        features = torch.empty(2, 50, 32, dtype=dtype, device="cuda")
        queries = torch.empty(2, 7, 32, dtype=dtype, device="cuda")
        bias = torch.empty(2, 7, device="cuda")
        means, attention = read(features, queries, bias)
        statistics = row_statistics(features, EPS)
        gradients = torch.ops.slotcli.slot_read_backward(
            means, attention, features, *statistics, queries, bias, means, bias
        )
    assert (means.shape, attention.shape) == ((2, 7, 32), (2, 7, 50))
    assert means.dtype == attention.dtype == torch.float32
    assert means.device.type == "cuda"
    for gradient, tensor in zip(gradients, (features, queries, bias), strict=True):
        assert (gradient.shape, gradient.dtype) == (tensor.shape, tensor.dtype)


def test_its_operations_are_counted() -> None:
    features, queries, bias = (tensor.requires_grad_() for tensor in make(2, 3, 5, 4))
    with FlopCounterMode(display=False, custom_mapping=FLOPS) as counter:
        means, _ = read(features, queries, bias)
        forward = counter.get_total_flops()
        means.sum().backward()
    product = 2 * 2 * 3 * 5 * 4
    assert forward == 2 * product
    assert counter.get_total_flops() == (2 + 5) * product
