"""The labels' kernel against interpolation in float64."""

import pytest
import torch
import torch.nn.functional as F
from conftest import Guarded

from slotcli.kernels import dispatch, mask_argmax


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("frames", "slots", "grid", "size"),
    [
        (2, 5, (4, 6), (16, 24)),
        (3, 4, (5, 3), (13, 47)),
        (1, 3, (9, 12), (4, 5)),
        (2, 1, (2, 2), (3, 3)),
        (1, 2, (1, 1), (2, 5)),
        (2, 3, (7, 1), (1, 9)),
    ],
)
def test_it_agrees_with_interpolation(
    frames: int,
    slots: int,
    grid: tuple[int, int],
    size: tuple[int, int],
    dtype: torch.dtype,
    guarded: Guarded,
) -> None:
    rng = torch.Generator().manual_seed(slots)
    attention = torch.randn(frames, slots, *grid, generator=rng).mul(2).softmax(1).to(dtype)
    with dispatch.use_backend("triton"):
        labels = mask_argmax(guarded(attention, innermost=1), size)
    assert labels.dtype == torch.uint8
    shares = F.interpolate(attention.double(), size, mode="bilinear", align_corners=False)
    best = shares.sort(dim=1, descending=True).values
    clear = best[:, 0] - best[:, 1] > 1e-6 if slots > 1 else torch.ones_like(labels, dtype=bool)
    assert clear.double().mean() > 0.98
    assert torch.equal(labels.long()[clear], shares.argmax(1)[clear])


def test_a_tie_goes_to_the_first_slot(guarded: Guarded) -> None:
    rng = torch.Generator().manual_seed(0)
    attention = torch.randint(0, 2, (2, 6, 5, 5), generator=rng).float()
    with dispatch.use_backend("triton"):
        labels = mask_argmax(guarded(attention), (10, 20))
    # Weights of quarters and eighths: every share is exact, and a tie is a tie.
    shares = F.interpolate(attention.double(), (10, 20), mode="bilinear", align_corners=False)
    assert ((shares == shares.amax(1, keepdim=True)).sum(1) > 1).double().mean() > 0.2
    assert torch.equal(labels.long(), shares.argmax(1))
