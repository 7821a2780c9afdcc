"""The slot read on a GPU: parity with float64, the same bits in every run, and graphs."""

import pytest
import torch
from torch import Tensor

from slotcli.kernels import row_statistics, slot_read
from slotcli.kernels.dispatch import use_backend

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

TOLERANCES = {torch.float32: 3e-6, torch.bfloat16: 1e-2}


def run(dtype: torch.dtype, batch: int, slots: int, positions: int, width: int) -> list[Tensor]:
    """Outputs and gradients, of inputs that are the same whatever the type."""
    rng = torch.Generator().manual_seed(positions + width)
    made = (
        torch.randn(shape, generator=rng).bfloat16().to("cuda", dtype)
        for shape in ((batch, positions, width), (batch, slots, width), (batch, slots))
    )
    features, queries, bias = (tensor.requires_grad_() for tensor in made)
    means, attention = slot_read(
        features,
        *row_statistics(features, 1e-5),
        queries * 3 * width**-0.5,
        bias,
        with_attention=True,
    )
    weights = torch.randn(means.shape, generator=rng).to(means)
    loss = (means * weights).sum() + attention.square().sum()
    return [means, attention, *torch.autograd.grad(loss, (features, queries, bias))]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    "shape",
    [(2, 15, 1024, 192), (3, 8, 1000, 64), (1, 16, 77, 256), (2, 1, 1, 16), (300, 5, 40, 24)],
)
def test_it_agrees_with_the_reference(dtype: torch.dtype, shape: tuple[int, int, int, int]) -> None:
    with use_backend("reference"):
        wanted = run(torch.float64, *shape)
    with use_backend("triton"):
        found = run(dtype, *shape)
        again = run(dtype, *shape)
    for exact, result, second in zip(wanted, found, again, strict=True):
        torch.testing.assert_close(result, second, rtol=0, atol=0)
        scale = max(exact.norm().item(), 1e-3 * exact.numel() ** 0.5)
        assert (result.double() - exact).norm() <= TOLERANCES[dtype] * scale


@torch.no_grad()
def test_a_graph_replays_it() -> None:
    features = torch.randn(2, 1024, 192, device="cuda", dtype=torch.bfloat16)
    queries, bias = torch.randn(2, 15, 192, device="cuda"), torch.zeros(2, 15, device="cuda")

    def read() -> Tensor:
        statistics = row_statistics(features, 1e-5)
        return slot_read(features, *statistics, queries, bias, with_attention=False)[0]

    with use_backend("triton"):
        read()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = read()
        features.copy_(torch.randn_like(features))
        graph.replay()
        torch.testing.assert_close(captured, read(), rtol=0, atol=0)
