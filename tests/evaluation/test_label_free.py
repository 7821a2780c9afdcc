import numpy as np
import pytest
import torch
from torch import Tensor

from slotcli.errors import DataError
from slotcli.evaluation.baselines import Baseline, grid, stripes
from slotcli.evaluation.label_free import (
    Segment,
    edge_alignment,
    identity_carry,
    position_determinism,
    shift_equivariance,
    slot_entropy,
    used_slots,
)

NUM_SLOTS = 7


def everywhere(baseline: Baseline) -> Segment:
    return lambda frames: np.stack([baseline(clip, NUM_SLOTS, 0) for clip in frames])


def bright(frames: Tensor) -> np.ndarray:
    """A segmenter that sees nothing but the colour of a pixel."""
    return (frames[:, :, 0] > 128).numpy().astype(np.uint8)


def shuffled_slots(labels: np.ndarray, num_slots: int, seed: int) -> np.ndarray:
    """Name the objects of every clip anew, at random."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(num_slots).astype(np.uint8)[clip] for clip in labels])


def plugged_in(labels: np.ndarray, num_slots: int) -> float:
    """Position determinism from the shares as they are, which is biased."""
    pixels = np.stack([(labels == n).mean((0, 1)) for n in range(num_slots)], -1)
    conditional, marginal = (
        -(shares * np.log(np.where(shares > 0, shares, 1))).sum(-1).mean()
        for shares in (pixels, pixels.mean((0, 1)))
    )
    return 1 - conditional / marginal


@pytest.mark.parametrize("num_slots", [7, 24])
def test_place_tells_nothing_about_slots_named_at_random(num_slots: int) -> None:
    rng = np.random.default_rng(0)
    # Voronoi cells anew in every clip, still over its frames: 64 samples a pixel, not 384
    points = rng.uniform(0, 32, (64, num_slots, 2, 1, 1))
    still = ((np.mgrid[:32, :32] - points) ** 2).sum(2).argmin(1).astype(np.uint8)
    labels = np.repeat(still[:, None], 6, axis=1)
    assert position_determinism(labels, num_slots) < plugged_in(labels, num_slots) / 5
    assert position_determinism(labels, num_slots) < 0.01


def test_objects_named_at_random_are_not_told_by_place(discs) -> None:
    labels = shuffled_slots(discs(64)[1], NUM_SLOTS, 1)
    assert position_determinism(labels, NUM_SLOTS) < 0.01


@pytest.mark.parametrize("baseline", [stripes, grid])
def test_place_tells_everything_about_cells(baseline: Baseline, discs) -> None:
    labels = everywhere(baseline)(discs(4)[0])
    assert position_determinism(labels, NUM_SLOTS) == pytest.approx(1)


def test_cells_named_anew_in_every_clip_are_told_by_place_no_more(discs) -> None:
    labels = everywhere(stripes)(discs(64, t=1)[0])
    assert position_determinism(shuffled_slots(labels, NUM_SLOTS, 0), NUM_SLOTS) < 0.1


def test_one_slot_for_everything_is_determined() -> None:
    assert position_determinism(np.zeros((4, 2, 8, 8), np.uint8), 3) == 1


@pytest.mark.parametrize("shift", [5, 12, 20])
def test_colour_follows_the_picture(shift: int, discs) -> None:
    frames, _ = discs(8, t=2, radius=9)
    assert shift_equivariance(bright, frames, shift) > 0.96  # one pixel's error: below 0.9


@pytest.mark.parametrize("shift", [8, 11, 16])
@pytest.mark.parametrize("baseline", [stripes, grid])
def test_cells_do_not_follow_whatever_the_shift(baseline: Baseline, shift: int, discs) -> None:
    assert shift_equivariance(everywhere(baseline), discs(3, t=2)[0], shift) == 0


def test_crops_come_at_the_size_of_the_frames(discs) -> None:
    frames, _ = discs(2, t=2)
    seen: list[Tensor] = []

    def watching(crops: Tensor) -> np.ndarray:
        seen.append(crops)
        return bright(crops)

    shift_equivariance(watching, frames, 9)
    assert [tuple(crops.shape) for crops in seen] == [tuple(frames.shape)] * 2


def test_true_labels_lie_on_edges_and_cells_do_not(discs) -> None:
    frames, truth = discs(8)
    on_edges = edge_alignment(frames, truth)
    across = edge_alignment(frames, everywhere(stripes)(frames))
    assert on_edges is not None
    assert on_edges > 5
    assert across == pytest.approx(1, abs=0.3)


def test_without_borders_or_steps_there_is_no_alignment() -> None:
    flat = torch.zeros((1, 2, 3, 8, 8), dtype=torch.uint8)
    assert edge_alignment(flat, np.zeros((1, 2, 8, 8), np.uint8)) is None
    assert edge_alignment(flat, np.eye(8, dtype=np.uint8)[None, None].repeat(2, 1)) is None


def test_slots_count_from_one_percent_on() -> None:
    labels = np.zeros((1, 2, 20, 20), np.uint8)
    labels[0, 0, 0, :4] = 1  # 1 %
    labels[0, 1, 0, :3] = 1  # less
    assert used_slots(labels, 3) == 1.5


def test_entropy_spans_none_to_even() -> None:
    labels = np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2)
    assert slot_entropy(labels, 4) == pytest.approx(1)
    assert slot_entropy(np.zeros_like(labels), 4) == 0
    assert slot_entropy(np.zeros_like(labels), 1) == 0


def test_carry_tells_the_first_step_from_the_others() -> None:
    labels = np.zeros((2, 4, 4, 4), np.uint8)
    labels[:, 0, :2] = 3
    assert identity_carry(labels) == (0.5, 1)
    assert identity_carry(labels[:, :2]) == (0.5, None)
    assert identity_carry(labels[:, :1]) == (None, None)


def test_what_cannot_be_audited_is_refused(discs) -> None:
    frames, truth = discs(2, t=2)
    with pytest.raises(DataError, match="1 clip"):
        position_determinism(truth[:1], NUM_SLOTS)
    with pytest.raises(DataError, match="slot 5, of 3"):
        position_determinism(truth, 3)
    with pytest.raises(DataError, match="1 clip"):
        shift_equivariance(bright, frames[:1], 8)
    with pytest.raises(DataError, match="shift of 32"):
        shift_equivariance(bright, frames, 32)
