"""The absorbed cross-attention on a GPU: parity, the same bits in every run, and graphs."""

import pytest
import torch
from torch import Tensor

from slotcli.kernels import slot_cross_attention
from slotcli.kernels.dispatch import use_backend

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

TOLERANCES = {torch.float32: 3e-6, torch.bfloat16: 1e-2}


def make(
    dtype: torch.dtype, frames: int, positions: int, channels: int, slots: int, heads: int
) -> tuple[Tensor, ...]:
    rng = torch.Generator().manual_seed(positions + slots)
    shapes = (
        (frames, positions, channels),
        (frames, slots * heads, channels),
        (frames, slots * heads),
        (frames, slots * heads, channels),
    )
    x, queries, offset, values = (torch.randn(shape, generator=rng) for shape in shapes)
    queries *= 2 * channels**-0.5
    return tuple(part.bfloat16().to("cuda", dtype) for part in (x, queries, offset, values))


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    "shape",
    [(8, 256, 256, 15, 8), (2, 64, 384, 16, 12), (1, 16, 512, 15, 16), (3, 77, 64, 1, 2)],
)
def test_it_agrees_with_the_reference(
    dtype: torch.dtype, shape: tuple[int, int, int, int, int]
) -> None:
    heads = shape[-1]
    x, *rest = make(torch.float64, *shape)
    with use_backend("reference"):
        wanted = slot_cross_attention(x, *rest, heads=heads, eps=1e-5)
    with use_backend("triton"):
        found, again = (
            slot_cross_attention(*make(dtype, *shape), heads=heads, eps=1e-5) for _ in range(2)
        )
    torch.testing.assert_close(found, again, rtol=0, atol=0)
    assert (found - wanted).norm() <= TOLERANCES[dtype] * (wanted - x).norm()


def test_a_graph_replays_it() -> None:
    x, queries, offset, values = make(torch.bfloat16, 2, 256, 256, 15, 8)

    def attend() -> Tensor:
        return slot_cross_attention(x, queries, offset, values, heads=8, eps=1e-5)

    with use_backend("triton"):
        attend()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = attend()
        x.copy_(torch.randn_like(x))
        graph.replay()
        torch.testing.assert_close(captured, attend(), rtol=0, atol=0)
