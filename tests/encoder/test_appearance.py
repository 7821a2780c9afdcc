"""Colour grids: against a loop in float64, and what makes them fit to edit with."""

import numpy as np
import pytest
import torch
from torch import Tensor

from slotcli.encoder.appearance import COLOURS, Appearance, colour_map
from slotcli.types import EXTENT

GRID = 4


def hard(labels: Tensor, slots: int) -> Tensor:
    """Attention that is 1 where a label is a slot's: [1 n h w]."""
    return torch.nn.functional.one_hot(labels.long(), slots).movedim(-1, 0)[None].float()


def grids(attention: Tensor, colours: Tensor, grid: int = GRID) -> Tensor:
    """The grids of single frames: [b n c]."""
    maps = torch.zeros(len(colours), 1, *colours.shape[-2:])
    seen = Appearance(grid, background=0)(
        attention[:, None].flatten(3), maps[:, None].flatten(0, 1), colours[:, None]
    )
    return seen[:, 0, :, 1 + COLOURS :]


def scene() -> tuple[Tensor, Tensor]:
    """Labels of two objects before a background, and a frame."""
    labels = torch.zeros(16, 20)
    labels[2:7, 3:9] = 1
    labels[9:14, 10:18] = 2
    return labels, torch.rand(1, 3, 16, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_map_is_what_a_loop_makes_of_the_grids() -> None:
    rng = torch.Generator().manual_seed(1)
    attention = torch.rand(1, 3, 6, 7, generator=rng).softmax(1)
    found_grids = grids(attention, torch.rand(1, 3, 6, 7, generator=rng))
    extents = found_grids[0, :, -EXTENT:].double().numpy()
    colours = found_grids[0, :, :-EXTENT].double().numpy().reshape(3, 3, GRID, GRID)
    where = attention[0].double().numpy()
    y, x = (np.mgrid[0:6, 0:7] + 0.5) / np.array([6, 7])[:, None, None]
    wanted = np.zeros((3, 6, 7))
    for slot in range(3):
        share = where[slot] / where[slot].sum()
        spans = []
        for axis, (along, length) in enumerate(((y, 6), (x, 7))):
            centre = (share * along).sum()
            reach = 1.6 * max(0.5 / length, np.sqrt((share * (along - centre) ** 2).sum()))
            if slot == 0:
                centre, reach = 0.5, along.max() - 0.5
            assert extents[slot, axis] == pytest.approx(centre, abs=1e-5)
            assert extents[slot, axis + 2] == pytest.approx(reach, abs=1e-5)
            spans.append((np.clip((along - centre) / reach, -1, 1) + 1) * (GRID - 1) / 2)
        for row, column in np.ndindex(6, 7):
            for i, j in np.ndindex(GRID, GRID):
                near = max(0, 1 - abs(spans[0][row, column] - i))
                near *= max(0, 1 - abs(spans[1][row, column] - j))
                wanted[:, row, column] += where[slot, row, column] * near * colours[slot, :, i, j]
    found = colour_map(attention, found_grids, GRID)[0].double().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_objects_of_one_colour_are_kept_exactly() -> None:
    labels, _ = scene()
    colours = torch.tensor([[-0.5, 0.1, 0.9], [0.7, -0.9, 0.2], [1.0, 1.0, -1.0]])
    frame = colours[labels.long()].permute(2, 0, 1)[None]
    attention = hard(labels, 3)
    found = colour_map(attention, grids(attention, frame), GRID)
    torch.testing.assert_close(found, frame, atol=1e-4, rtol=0)


def test_shades_across_an_object_are_kept_and_finer_grids_keep_more() -> None:
    labels, noise = scene()
    attention = hard(labels, 3)
    x = torch.linspace(-1, 1, 20).expand(1, 3, 16, 20)
    shaded = colour_map(attention, grids(attention, x), GRID)
    assert (shaded - x).abs().mean() < 0.1 * (x - x.mean()).abs().mean()
    errors = [
        (colour_map(attention, grids(attention, noise, side), side) - noise).square().mean()
        for side in (2, 4, 8)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.8 * errors[0]


@pytest.mark.parametrize("way", [(0, 5), (3, 0), (2, -3)])
def test_an_objects_grid_goes_with_it(way: tuple[int, int]) -> None:
    labels, frame = scene()
    labels[labels == 2] = 0
    moved = torch.roll(labels, way, (0, 1))
    there = torch.roll(frame, way, (2, 3))
    before, after = grids(hard(labels, 2), frame)[0, 1], grids(hard(moved, 2), there)[0, 1]
    # The background around it is another.
    assert (after - before)[:-EXTENT].abs().max() < 0.05
    by = torch.tensor([way[0] / 16, way[1] / 20, 0, 0])
    torch.testing.assert_close((after - before)[-EXTENT:], by, atol=1e-5, rtol=0)


def test_a_grid_stays_where_it_is_whatever_part_of_its_object_is_seen() -> None:
    labels, frame = scene()
    attention = hard(labels, 3)
    found = grids(attention, frame)
    covered = attention.clone()
    covered[:, 1, :, 6:] = 0
    seen = covered[:, 1:2].bool().expand(-1, 3, -1, -1)
    whole, part = colour_map(attention, found, GRID), colour_map(covered, found, GRID)
    assert torch.equal(part[seen], whole[seen])


def test_the_map_has_the_same_colours_at_another_resolution() -> None:
    x = torch.linspace(-1, 1, 20).expand(1, 3, 16, 20)
    labels, _ = scene()
    found = grids(hard(labels, 3), x)
    finer = labels.repeat_interleave(2, 0).repeat_interleave(2, 1)
    fine = torch.nn.functional.avg_pool2d(colour_map(hard(finer, 3), found, GRID), 2)
    coarse = colour_map(hard(labels, 3), found, GRID)
    assert (fine - coarse).abs().max() < 0.03


def test_what_a_dropped_object_hid_looks_like_what_was_around_it() -> None:
    """Its attention goes to the background, softly bounded as trained attention is."""
    labels, _ = scene()
    labels[labels == 2] = 0
    soft = torch.nn.functional.avg_pool2d(hard(labels, 2), 3, 1, 1, count_include_pad=False)
    frame = torch.full((1, 3, 16, 20), -0.6)
    frame[:, :, labels == 1] = 0.9
    points = grids(soft, frame)
    whole = colour_map(soft, points, GRID)
    dropped = torch.stack([soft.sum(1), torch.zeros(1, 16, 20)], dim=1)
    less = colour_map(dropped, points, GRID)
    hidden = (labels == 1).expand(1, 3, -1, -1)
    assert whole[hidden].mean() > 0.6
    assert less[hidden].mean() < -0.45
    far = (soft[:, 1:] < 0.01).expand(-1, 3, -1, -1)
    torch.testing.assert_close(less[far], whole[far], atol=0.02, rtol=0)


def test_slots_but_for_the_background_are_a_set_and_empty_ones_are_finite() -> None:
    labels, frame = scene()
    attention = hard(labels, 4)  # the last has no position
    points = grids(attention, frame)
    order = [0, 2, 3, 1]
    torch.testing.assert_close(grids(attention[:, order], frame), points[:, order])
    assert points.isfinite().all()
    assert colour_map(attention, points, GRID).isfinite().all()


def test_gradients_are_finite_where_a_slot_has_no_position() -> None:
    labels, frame = scene()
    attention = hard(labels, 4).requires_grad_()
    colour_map(attention, grids(attention, frame), GRID).square().sum().backward()
    assert attention.grad is not None
    assert attention.grad.isfinite().all()
