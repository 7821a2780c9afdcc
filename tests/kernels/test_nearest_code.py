"""The lookup against brute force in float64, and as an operation that torch knows all about."""

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.library import opcheck
from torch.utils.flop_counter import FlopCounterMode

from slotcli.errors import UnavailableError
from slotcli.kernels import dispatch, nearest_code
from slotcli.kernels.flops import FLOPS


def brute_force(latents: Tensor, codes: Tensor) -> Tensor:
    return (latents.double()[:, None] - codes.double()).square().sum(2).argmin(1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("rows", "k", "channels"), [(1, 1, 1), (0, 5, 3), (300, 61, 3), (2500, 256, 4), (40, 200, 9)]
)
def test_it_agrees_with_brute_force(rows: int, k: int, channels: int, dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(rows)
    latents = torch.randn(rows, channels, generator=rng).to(dtype)
    codes = torch.randn(k, channels, generator=rng).to(dtype)
    assert torch.equal(nearest_code(latents, codes), brute_force(latents, codes))


def test_ties_go_to_the_first_code() -> None:
    """Integers, so that every distance is exact and a tie is a tie; more rows than one chunk."""
    rng = np.random.default_rng(1)
    latents = rng.integers(-2, 3, size=(9000, 4)).astype(np.float32)
    codes = rng.integers(-2, 3, size=(192, 4)).astype(np.float32)
    codes[100:150] = codes[:50]
    distances = ((latents[:, None] - codes[None]) ** 2).sum(-1)
    assert ((distances == distances.min(1, keepdims=True)).sum(1) > 1).mean() > 0.3
    found = nearest_code(torch.from_numpy(latents), torch.from_numpy(codes))
    np.testing.assert_array_equal(found, distances.argmin(1))


@pytest.mark.parametrize("k", [50, 67, 128, 333])
def test_of_a_code_and_its_copy_the_first_is_found(k: int) -> None:
    """Rounded the same wherever they stand: a matrix product may have other code at its edges."""
    codes = torch.randn(k, 3, generator=torch.Generator().manual_seed(k))
    found = nearest_code(codes[:17] * 1.001, torch.cat([codes, codes[:17]]))
    assert found.tolist() == list(range(17))


def test_latents_that_are_no_numbers_get_a_code_all_the_same() -> None:
    assert nearest_code(torch.full((4, 3), torch.nan), torch.randn(256, 3)).tolist() == [0] * 4


def test_autocast_does_not_round_it() -> None:
    latents, codes = 1 + torch.rand(500, 3) / 100, 1 + torch.rand(64, 3) / 100
    with torch.autocast("cpu", torch.bfloat16):
        found = nearest_code(latents, codes)
    assert torch.equal(found, nearest_code(latents, codes))


def test_triton_is_refused_where_there_is_no_gpu() -> None:
    with dispatch.use_backend("triton"), pytest.raises(UnavailableError, match="nearest_code"):
        nearest_code(torch.randn(4, 3), torch.randn(5, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_finds_nothing_wrong_with_the_operation(dtype: torch.dtype) -> None:
    tensors = (torch.randn(70, 3).to(dtype), torch.randn(5, 3))
    opcheck(torch.ops.slotcli.nearest_code.default, tensors)


def lookup(latents: Tensor, codes: Tensor) -> Tensor:
    return codes[nearest_code(latents * 2, codes)]


def test_it_is_compiled_whole_and_for_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    # What checks shapes in tests looks into tensors, which a compiler cannot follow.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    compiled = torch.compile(lookup, fullgraph=True, dynamic=True, backend="aot_eager")
    for rows, k in ((70, 9), (31, 12)):
        latents, codes = torch.randn(rows, 3, requires_grad=True), torch.randn(k, 3)
        assert torch.equal(compiled(latents, codes), lookup(latents, codes))
    torch._dynamo.reset()


class Lookup(torch.nn.Module):
    def forward(self, latents: Tensor, codes: Tensor) -> Tensor:
        return lookup(latents, codes)


def test_it_is_exported_as_one_operation() -> None:
    tensors = (torch.randn(70, 3), torch.randn(9, 3))
    exported = torch.export.export(Lookup(), tensors)
    assert "slotcli.nearest_code.default" in str(exported.graph)
    assert torch.equal(exported.module()(*tensors), lookup(*tensors))


def test_shapes_on_a_gpu_that_is_not_there() -> None:
    with FakeTensorMode():
        latents = torch.empty(50, 3, dtype=torch.bfloat16, device="cuda")
        found = nearest_code(latents, torch.empty(9, 3, device="cuda"))
    assert (found.shape, found.dtype, found.device.type) == ((50,), torch.int64, "cuda")


def test_its_operations_are_counted() -> None:
    with FlopCounterMode(display=False, custom_mapping=FLOPS) as counter:
        nearest_code(torch.randn(20, 3), torch.randn(9, 3))
    assert counter.get_total_flops() == 2 * 20 * 9 * 3
