"""The absorbed cross-attention against a loop in float64, and as an operation of torch's."""

import math

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.library import opcheck

from slotcli.kernels import absorbing_pays, slot_cross_attention

EPS = 1e-5
# Frames, positions, channels, slots, heads.
SHAPES = [(2, 5, 8, 3, 2), (1, 1, 4, 1, 1), (2, 3, 6, 1, 3)]


def make(
    frames: int,
    positions: int,
    channels: int,
    slots: int,
    heads: int,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, ...]:
    """Tokens, queries, offset and values."""
    rng = torch.Generator().manual_seed(frames + positions + channels)
    return tuple(
        torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)
        for shape in (
            (frames, positions, channels),
            (frames, slots * heads, channels),
            (frames, slots * heads),
            (frames, slots * heads, channels),
        )
    )


def attend(x: Tensor, queries: Tensor, offset: Tensor, values: Tensor, heads: int) -> Tensor:
    return slot_cross_attention(x, queries, offset, values, heads=heads, eps=EPS)


def by_hand(
    x: np.ndarray, queries: np.ndarray, offset: np.ndarray, values: np.ndarray, heads: int
) -> np.ndarray:
    y = x.copy()
    slots = queries.shape[1] // heads
    for b in range(len(x)):
        for p in range(x.shape[1]):
            token = x[b, p]
            z = (token - token.mean()) / math.sqrt(((token - token.mean()) ** 2).mean() + EPS)
            for h in range(heads):
                rows = [n * heads + h for n in range(slots)]
                exps = [math.exp(queries[b, row] @ z + offset[b, row]) for row in rows]
                for row, weight in zip(rows, exps, strict=True):
                    y[b, p] += weight / sum(exps) * values[b, row]
    return y


@pytest.mark.parametrize("shape", SHAPES)
def test_it_agrees_with_a_loop(shape: tuple[int, int, int, int, int]) -> None:
    tensors, heads = make(*shape), shape[-1]
    wanted = by_hand(*(tensor.numpy() for tensor in tensors), heads)
    np.testing.assert_allclose(attend(*tensors, heads), wanted, atol=1e-12)
    narrow = attend(*(tensor.float() for tensor in tensors), heads)
    np.testing.assert_allclose(narrow, wanted, atol=1e-5)
    low = tuple(tensor.bfloat16() for tensor in tensors)
    wanted = by_hand(*(tensor.double().numpy() for tensor in low), heads)
    found = attend(*low, heads).double().numpy()
    assert np.linalg.norm(found - wanted) < 2e-2 * np.linalg.norm(wanted)


def test_autocast_changes_nothing() -> None:
    tensors = make(2, 5, 8, 3, 2, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(*tensors, 2)
    torch.testing.assert_close(found, attend(*tensors, 2), rtol=0, atol=0)


def test_it_says_that_it_has_no_gradient() -> None:
    tensors = [tensor.requires_grad_() for tensor in make(2, 5, 8, 3, 2)]
    with pytest.raises(NotImplementedError, match="no gradient"):
        attend(*tensors, 2).sum().backward()


def test_absorbing_pays_where_positions_or_frames_make_it_pay() -> None:
    """The published levels: always on a CPU; on a GPU at 16 x 16, or for a frame or two."""
    levels = [(256, 256), (64, 384), (16, 512)]

    def pays(device: str, frames: int, slots: int) -> list[bool]:
        return [
            absorbing_pays(
                torch.device(device),
                frames=frames,
                positions=positions,
                channels=channels,
                slots=slots,
                heads=channels // 32,
            )
            for positions, channels in levels
        ]

    assert pays("cpu", 96, 15) == [True, True, True]
    assert pays("cuda", 96, 15) == [True, False, False]
    assert pays("cuda", 2, 15) == [True, True, True]
    assert pays("cuda", 2, 17) == [True, False, False]  # more weights than the kernel holds
    assert pays("cpu", 2, 40) == [False, False, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_finds_nothing_wrong_with_the_operation(dtype: torch.dtype) -> None:
    tensors = make(2, 5, 8, 3, 2, dtype)
    opcheck(torch.ops.slotcli.slot_cross_attention.default, (*tensors, 2, EPS))


def test_it_is_compiled_whole_and_for_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    # What checks shapes in tests looks into tensors, which a compiler cannot follow.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    compiled = torch.compile(attend, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 5, 8, 3, 2), (3, 7, 8, 4, 2)):
        tensors = make(*shape)
        torch.testing.assert_close(compiled(*tensors, 2), attend(*tensors, 2))
    torch._dynamo.reset()


class Reader(torch.nn.Module):
    def forward(self, x: Tensor, queries: Tensor, offset: Tensor, values: Tensor) -> Tensor:
        return attend(x, queries, offset, values, 2)


def test_it_is_exported_as_one_operation() -> None:
    tensors = make(2, 5, 8, 3, 2)
    exported = torch.export.export(Reader(), tensors)
    assert "slotcli.slot_cross_attention.default" in str(exported.graph)
    torch.testing.assert_close(exported.module()(*tensors), attend(*tensors, 2))


def test_shapes_on_a_gpu_that_is_not_there() -> None:
    with FakeTensorMode():
        tensors = [tensor.to("cuda") for tensor in make(2, 5, 8, 3, 2, torch.bfloat16)]
        y = attend(*tensors, 2)
    assert (y.shape, y.dtype, y.device.type) == ((2, 5, 8), torch.bfloat16, "cuda")
