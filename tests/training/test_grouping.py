"""The auxiliary grouping loss, against loops in float64, and what they are minimal for."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate, one_hot

from slotcli.training.auxiliary.grouping import dispersion, grouping_loss


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_a_loop_over_slots_and_positions(weighted: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    attention = torch.rand(2, 3, 4, 6, 5, generator=generator).softmax(dim=2)
    features = torch.rand(2, 3, 3, 12, 10, generator=generator) * 2 - 1
    weights = torch.rand(2, 3, 12, 10, generator=generator) if weighted else None
    counted = torch.ones(2, 3, 12, 10) if weights is None else weights
    maps = torch.cat([features, counted[:, :, None]], dim=2)
    small = interpolate(maps.flatten(0, 1), size=(6, 5), mode="area").unflatten(0, (2, 3))
    total = 0.0
    for members, clip in zip(attention.double().numpy(), small.double().numpy(), strict=True):
        for slot in range(4):
            weight = members[:, slot] * clip[:, 3]
            mean = (weight[:, None] * clip[:, :3]).sum((0, 2, 3)) / weight.sum()
            total += (weight * ((clip[:, :3] - mean[:, None, None]) ** 2).sum(1)).sum()
    found = grouping_loss(attention, features, weights)
    np.testing.assert_allclose(found, total / (2 * 3 * 30), rtol=1e-4)


def test_is_zero_for_slots_of_one_colour_and_pays_for_changing_objects() -> None:
    colours = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    labels = torch.randint(3, (1, 2, 8, 8), generator=torch.Generator().manual_seed(0))
    frames = colours[labels].permute(0, 1, 4, 2, 3).contiguous()
    attention = one_hot(labels, 3).permute(0, 1, 4, 2, 3).float()
    assert grouping_loss(attention, frames).item() < 1e-4
    swapped = attention.clone()
    swapped[:, 1] = attention[:, 1].flip(1)  # the slots change objects after the first frame
    assert grouping_loss(swapped, frames).item() > 0.1


def test_dispersion_is_the_chance_of_two_slots_over_all_pairs_of_positions() -> None:
    generator = torch.Generator().manual_seed(5)
    attention = torch.rand(2, 2, 3, 4, 5, generator=generator).softmax(dim=2)
    weights = torch.rand(2, 2, 4, 5, generator=generator)
    total = 0.0
    for members, counted in zip(attention.double().numpy(), weights.double().numpy(), strict=True):
        own = members.transpose(0, 2, 3, 1).reshape(-1, 3)
        pairs = np.outer(counted, counted)
        apart = (pairs * (1 - own @ own.T)).sum() / pairs.sum()
        total += apart * counted.mean()
    np.testing.assert_allclose(dispersion(attention, weights), total / 2, rtol=1e-4)


def test_dispersion_is_zero_where_nothing_counts_or_one_slot_has_it_all() -> None:
    attention = one_hot(torch.arange(4) // 2, 2).float().T.reshape(1, 1, 2, 2, 2)
    first = attention[:, :, 0]
    assert dispersion(attention, first).item() < 1e-5
    assert dispersion(attention, torch.zeros_like(first)).item() == 0
    assert dispersion(attention, torch.ones_like(first)).item() == pytest.approx(0.5)
