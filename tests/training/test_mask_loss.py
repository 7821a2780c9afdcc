"""The loss on instance masks: what it does not depend on, and where it is least."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from slotcli.training.auxiliary.mask_loss import assignment, mask_loss, mask_targets


def labels_of(rng: torch.Generator, objects: int, frames: int = 2, side: int = 8) -> Tensor:
    """A clip of rectangles, later ones before earlier ones; moved by a pixel a frame."""
    labels = torch.zeros(1, frames, side, side, dtype=torch.uint8)
    for number in range(1, objects + 1):
        y, x = (int(torch.randint(side - 3, (), generator=rng)) for _ in range(2))
        for frame in range(frames):
            labels[0, frame, y : y + 3, x + frame : x + frame + 3] = number
    return labels


def perfect(labels: Tensor, slots: int) -> Tensor:
    """The attention that is the labels: slot k is label k."""
    return torch.nn.functional.one_hot(labels.long(), slots).permute(0, 1, 4, 2, 3).float()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), objects=st.integers(0, 6))
def test_the_order_of_ids_does_not_matter(seed: int, objects: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    labels = labels_of(rng, objects)
    attention = torch.randn(1, 2, 5, 8, 8, generator=rng).softmax(2)
    order = torch.cat([torch.zeros(1).long(), 1 + torch.randperm(objects, generator=rng)])
    renamed = order[labels.long()].to(torch.uint8)
    first = mask_loss(attention, mask_targets(labels, (8, 8)))
    # Equal areas are a tie that the order of ids decides, so only cases with slots for all.
    if objects <= 4:
        torch.testing.assert_close(first, mask_loss(attention, mask_targets(renamed, (8, 8))))


@pytest.mark.parametrize("objects", [0, 1, 4])
def test_a_perfect_attention_has_no_loss(objects: int) -> None:
    labels = labels_of(torch.Generator().manual_seed(3), objects)
    loss = mask_loss(perfect(labels, 6), mask_targets(labels, (8, 8)))
    assert 0 <= loss.item() < 1e-6
    swapped = perfect(labels, 6)[:, :, [0, 3, 1, 2, 5, 4]]
    assert mask_loss(swapped, mask_targets(labels, (8, 8))).item() == pytest.approx(loss.item())


def test_background_in_another_slot_is_wrong() -> None:
    labels = labels_of(torch.Generator().manual_seed(3), 2)
    moved = perfect(labels, 6)[:, :, [1, 0, 2, 3, 4, 5]]
    assert mask_loss(moved, mask_targets(labels, (8, 8))) > 1


def test_an_object_has_one_slot_in_all_frames() -> None:
    """Two slots that share an object over time cannot both be right."""
    labels = torch.ones(1, 2, 4, 4, dtype=torch.uint8)
    attention = torch.zeros(1, 2, 3, 4, 4)
    attention[:, 0, 1] = attention[:, 1, 2] = 1
    assert mask_loss(attention, mask_targets(labels, (4, 4))) > 0.4


def test_more_objects_than_slots() -> None:
    """The largest are assigned, and what is left is not counted."""
    labels = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    labels[..., :4, :], labels[..., 4:6, :], labels[..., 6:, 6:] = 1, 2, 3
    targets = mask_targets(labels, (8, 8))
    attention = perfect(labels.clamp(max=2), 3)
    assert mask_loss(attention, targets).item() < 0.1
    shares, truth = attention.transpose(1, 2).flatten(2), targets.flatten(2)
    found = assignment(shares, (shares + 1e-8).log(), truth, truth.sum(-1))
    assert found[0].nonzero().tolist() == [[0, 0], [1, 1], [2, 2]]


def test_what_is_outside_is_not_counted() -> None:
    labels = labels_of(torch.Generator().manual_seed(0), 2)
    labels[..., 6:, :] = 255
    attention = perfect(labels.masked_fill(labels == 255, 0), 4)
    whatever = attention.clone()
    whatever[..., 6:, :] = torch.rand(whatever[..., 6:, :].shape).softmax(2)
    targets = mask_targets(labels, (8, 8))
    assert targets.shape[1] == 3
    weighted = torch.einsum("btnij,bktij->", whatever - attention, targets)
    assert weighted == 0


def test_gradients_are_finite_where_a_slot_has_nothing() -> None:
    labels = labels_of(torch.Generator().manual_seed(0), 2)
    attention = perfect(labels, 4)[:, :, [0, 3, 2, 1]].requires_grad_()
    mask_loss(attention, mask_targets(labels, (8, 8))).backward()
    assert attention.grad is not None
    assert torch.isfinite(attention.grad).all()


def test_targets_are_shares_of_cells() -> None:
    labels = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    labels[..., 0, 0], labels[..., 2:, 2:] = 1, 2
    targets = mask_targets(labels, (2, 2))
    assert targets[0, :, 0].tolist() == [
        [[0.75, 1], [1, 0]],
        [[0.25, 0], [0, 0]],
        [[0, 0], [0, 1]],
    ]
