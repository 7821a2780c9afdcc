"""Labels by blocks against the plain form, on maps of every kind that has borders between slots."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slotcli.kernels import cpu_mask_argmax, dispatch, mask_argmax, reference

pytestmark = pytest.mark.slow

ROUNDING = 1e-5  # shares are at most 1

SIZES = [(64, 64), (47, 150), (129, 65), (200, 311), (33, 400)]


def noise(slots: int, grid: tuple[int, int], seed: int) -> Tensor:
    """Shares without any order."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(2, slots, *grid, generator=rng).mul(3).softmax(1)


def regions(slots: int, grid: tuple[int, int], seed: int) -> Tensor:
    """Shares of a few smooth regions with sure insides."""
    coarse = torch.randn(2, slots, 3, 3, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, grid, mode="bicubic").mul(20).softmax(1)


def sure(slots: int, grid: tuple[int, int], seed: int) -> Tensor:
    """Shares of 0 and 1: equal ones everywhere."""
    rng = torch.Generator().manual_seed(seed)
    winner = torch.randint(slots, (2, *grid), generator=rng)
    return F.one_hot(winner, slots).permute(0, 3, 1, 2).float()


def specks(slots: int, grid: tuple[int, int], seed: int) -> Tensor:
    """One position each in a sea of the first slot, where a border lies within one cell."""
    rng = torch.Generator().manual_seed(seed)
    shares = torch.zeros(2, slots, *grid)
    shares[:, 0] = 0.5
    for slot in range(1, slots):
        y, x = (int(torch.randint(side, (), generator=rng)) for side in grid)
        shares[:, slot, y, x] = 0.4 + 0.2 * torch.rand((), generator=rng)
    return shares


@pytest.mark.parametrize("kind", [noise, regions, sure, specks])
@pytest.mark.parametrize("size", SIZES)
def test_labels_are_those_of_the_plain_form(
    kind: Callable[[int, tuple[int, int], int], Tensor], size: tuple[int, int]
) -> None:
    seed = 0
    for slots in (1, 2, 3, 8, 24):
        for grid in ((8, 8), (5, 9), (1, 1), (1, 6), (16, 16)):
            seed += 1
            shares = kind(slots, grid, seed)
            found = cpu_mask_argmax.mask_argmax(shares, size).long()
            full = F.interpolate(shares, size, mode="bilinear", align_corners=False)
            chosen = full.gather(1, found[:, None])[:, 0]
            assert (full.amax(1) - chosen).max() <= ROUNDING
            if kind is not sure:
                assert (found != full.argmax(1)).float().mean() < 1e-3


def test_blocks_settle_what_has_few_borders(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = regions(8, (32, 32), 0)
    expected = reference.mask_argmax(shares, (540, 960))
    monkeypatch.setattr(reference, "mask_argmax", None)
    found = cpu_mask_argmax.mask_argmax(shares, (540, 960))
    assert (found != expected).float().mean() < 1e-5
    assert len(expected.unique()) > 3


def test_a_tie_goes_to_the_first_slot() -> None:
    shares = regions(3, (8, 8), 0)
    twice = shares.repeat_interleave(2, dim=1)
    labels = cpu_mask_argmax.mask_argmax(twice, (300, 360))
    assert torch.equal(labels, 2 * cpu_mask_argmax.mask_argmax(shares, (300, 360)))


def test_narrow_shares_are_interpolated_in_float32() -> None:
    shares = regions(6, (8, 8), 1).bfloat16()
    labels = cpu_mask_argmax.mask_argmax(shares, (300, 260))
    assert torch.equal(labels, cpu_mask_argmax.mask_argmax(shares.float(), (300, 260)))


def test_the_plain_form_can_be_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_mask_argmax, "mask_argmax", None)
    with dispatch.use_backend("reference"):
        assert mask_argmax(regions(3, (8, 8), 0), (64, 64)).shape == (2, 64, 64)
