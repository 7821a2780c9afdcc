"""The group norm on a GPU: parity with float64, the same bits in every run, and graphs."""

import pytest
import torch
from torch import Tensor

from slotcli.kernels import group_norm_act
from slotcli.kernels.dispatch import use_backend

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

TOLERANCES = {torch.float32: 3e-6, torch.bfloat16: 6e-3}
LAST = torch.channels_last


def run(dtype: torch.dtype, b: int, c: int, size: int, groups: int) -> list[Tensor]:
    """Output and gradients, of inputs that are the same whatever the type."""
    rng = torch.Generator().manual_seed(c + size)

    def made(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng).bfloat16().to("cuda", dtype).requires_grad_()

    x, residual = (made(b, c, size, size).to(memory_format=LAST) for _ in range(2))
    weight, bias, shift = made(c), made(c), made(b, c)
    y = group_norm_act(
        x,
        weight,
        bias,
        groups=groups,
        eps=1e-5,
        activation="silu",
        shift=shift,
        residual=residual,
    )
    upstream = torch.randn(y.shape, generator=rng).bfloat16().to(y)
    return [y, *torch.autograd.grad(y, (x, weight, bias, shift, residual), upstream)]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    "shape", [(2, 128, 32, 32), (3, 896, 8, 32), (1, 512, 4, 32), (2, 32, 7, 8), (200, 64, 1, 32)]
)
def test_it_agrees_with_the_reference(dtype: torch.dtype, shape: tuple[int, int, int, int]) -> None:
    with use_backend("reference"):
        wanted = run(torch.float64, *shape)
    with use_backend("triton"):
        found = run(dtype, *shape)
        again = run(dtype, *shape)
    for exact, result, second in zip(wanted, found, again, strict=True):
        torch.testing.assert_close(result, second, rtol=0, atol=0)
        scale = max(exact.norm().item(), 0.1 * exact.numel() ** 0.5)
        assert (result.double() - exact).norm() <= TOLERANCES[dtype] * scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_reference_gives_the_layout_of_the_kernel(dtype: torch.dtype) -> None:
    """torch's own group norm on CUDA returns NCHW whatever it is given."""
    for backend in ("reference", "triton"):
        with use_backend(backend):
            y, grad_x, *_ = run(dtype, 2, 64, 8, 32)
        assert y.is_contiguous(memory_format=LAST)
        assert grad_x.is_contiguous(memory_format=LAST)


@torch.no_grad()
def test_a_graph_replays_it() -> None:
    x = torch.randn(2, 128, 16, 16, device="cuda", dtype=torch.bfloat16).to(memory_format=LAST)
    weight, bias = torch.randn(128, device="cuda"), torch.randn(128, device="cuda")

    def norm() -> Tensor:
        return group_norm_act(x, weight, bias, groups=32, eps=1e-5, activation="silu")

    with use_backend("triton"):
        norm()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = norm()
        x.copy_(torch.randn_like(x))
        graph.replay()
        torch.testing.assert_close(captured, norm(), rtol=0, atol=0)
