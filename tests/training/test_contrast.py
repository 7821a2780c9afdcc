"""The contrast of slots against a loop in float64, and what it is minimal for."""

import math

import numpy as np
import pytest
import torch

from slotcli.training.auxiliary.contrast import slot_contrast


def test_equals_a_loop_over_slots() -> None:
    slots = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    values = slots.double().numpy()
    values /= np.linalg.norm(values, axis=-1, keepdims=True)
    total = 0.0
    for frame in range(2):
        earlier = values[:, frame].reshape(8, 5)
        for place, slot in enumerate(values[:, frame + 1].reshape(8, 5)):
            scores = np.exp(earlier @ slot / 0.1)
            total -= math.log(scores[place] / scores.sum())
    assert slot_contrast(slots).item() == pytest.approx(total / 16, rel=1e-4)


def test_distinct_slots_that_stay_pay_nothing_and_alike_ones_all() -> None:
    distinct = torch.eye(6).reshape(2, 1, 3, 6).expand(2, 4, 3, 6)
    assert slot_contrast(distinct).item() < 1e-3
    swapped = distinct.clone()
    swapped[:, 1::2] = distinct[:, 1::2].flip(2)  # every other frame the slots change places
    assert slot_contrast(swapped).item() > 5
    assert slot_contrast(torch.ones(2, 3, 4, 5)).item() == pytest.approx(math.log(8), rel=1e-5)
