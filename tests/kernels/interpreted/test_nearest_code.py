"""The lookup's kernel against float64 brute force."""

import pytest
import torch
from conftest import Guarded

from slotcli.kernels import dispatch, nearest_code, triton_nearest_code


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("rows", "k", "channels"),
    [(1, 1, 1), (1, 300, 3), (70, 1, 4), (130, 61, 3), (9, 513, 4), (20, 64, 2)],
)
def test_it_agrees_with_brute_force(
    rows: int, k: int, channels: int, dtype: torch.dtype, guarded: Guarded
) -> None:
    rng = torch.Generator().manual_seed(rows + k)
    latents = torch.randn(rows, channels, generator=rng).to(dtype)
    codes = torch.randn(k, channels, generator=rng)
    with dispatch.use_backend("triton"):
        found = nearest_code(guarded(latents), guarded(codes, innermost=0))
    distances = (latents.double()[:, None] - codes.double()).square().sum(2)
    assert torch.equal(found, distances.argmin(1))


@pytest.mark.parametrize("name", triton_nearest_code.CONFIGS)
def test_ties_go_to_the_first_code(
    name: str, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies in other steps of the loop and in other lanes of a step; integers, so exact."""
    monkeypatch.setattr(triton_nearest_code, "FEW_ROWS", 0 if name == "many rows" else 10**6)
    rng = torch.Generator().manual_seed(1)
    latents = torch.randint(-2, 3, (90, 3), generator=rng).float()
    codes = torch.randint(-2, 3, (175, 3), generator=rng).float().repeat(2, 1)
    with dispatch.use_backend("triton"):
        found = nearest_code(guarded(latents), guarded(codes))
    distances = (latents[:, None] - codes).square().sum(2)
    assert ((distances == distances.amin(1, keepdim=True)).sum(1) > 1).all()
    assert torch.equal(found, distances.argmin(1))


def test_codes_that_are_not_there_never_win(guarded: Guarded) -> None:
    """Every code is far away, further than zeros or infinities in the place of one would be."""
    latents = torch.zeros(5, 3)
    codes = torch.full((3, 3), 1e3)
    codes[1] = 999
    with dispatch.use_backend("triton"):
        found = nearest_code(guarded(latents), guarded(codes))
    assert found.tolist() == [1] * 5


def test_latents_that_are_no_numbers_get_a_code_all_the_same(guarded: Guarded) -> None:
    latents = torch.full((4, 3), torch.nan)
    with dispatch.use_backend("triton"):
        assert nearest_code(guarded(latents), guarded(torch.randn(40, 3))).tolist() == [0] * 4
