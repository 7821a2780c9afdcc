import numpy as np
import pytest
import torch

from slotcli.evaluation.baselines import BASELINES, Baseline, grid, kmeans_colour, stripes
from slotcli.evaluation.segmentation import segmentation_scores


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, 24, 33), generator=generator).to(torch.uint8)


@pytest.mark.parametrize("num_slots", [1, 2, 7, 11])
@pytest.mark.parametrize("baseline", BASELINES.values(), ids=BASELINES.keys())
def test_labels_are_valid_and_repeatable(
    baseline: Baseline, num_slots: int, noise: torch.Tensor
) -> None:
    labels = baseline(noise, num_slots, 3)
    assert labels.shape == (3, 24, 33)
    assert labels.max() < num_slots
    assert np.array_equal(labels, baseline(noise, num_slots, 3))


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "one slot"])
def test_every_slot_is_used_where_the_picture_allows(name: str, noise: torch.Tensor) -> None:
    assert len(np.unique(BASELINES[name](noise, 6, 0))) == 6


@pytest.mark.parametrize("name", ["stripes", "grid", "voronoi"])
def test_cells_stay_where_they_are(name: str, noise: torch.Tensor) -> None:
    labels = BASELINES[name](noise, 5, 0)
    assert np.array_equal(labels, np.broadcast_to(labels[0], labels.shape))


@pytest.mark.parametrize("name", ["voronoi", "k-means colour", "k-means colour+place"])
def test_another_seed_is_another_answer(name: str, noise: torch.Tensor) -> None:
    assert not np.array_equal(BASELINES[name](noise, 5, 0), BASELINES[name](noise, 5, 1))


def test_stripes_run_from_top_to_bottom(noise: torch.Tensor) -> None:
    labels = stripes(noise, 3, 0)
    assert np.array_equal(labels[0, 0], np.repeat([0, 1, 2], 11))
    assert (labels == labels[:, :1]).all()


def test_grid_cells_are_as_large_as_each_other() -> None:
    frames = torch.zeros((1, 3, 60, 60), dtype=torch.uint8)
    assert np.array_equal(np.bincount(grid(frames, 9, 0).ravel()), np.full(9, 400))
    sizes = np.bincount(grid(frames, 11, 0).ravel())
    assert np.array_equal(sizes, [300] * 8 + [400] * 3)


def test_colours_that_differ_are_told_apart() -> None:
    truth = np.repeat(np.arange(4, dtype=np.uint8), 300).reshape(1, 40, 30)
    palette = np.array([[0, 0, 0], [250, 0, 0], [0, 250, 0], [200, 200, 250]], np.uint8)
    frames = torch.from_numpy(palette[truth].transpose(0, 3, 1, 2).copy())
    assert segmentation_scores(truth, kmeans_colour(frames, 4, 0)).ari == 1


def test_a_flat_picture_is_one_cluster() -> None:
    frames = torch.full((2, 3, 16, 16), 90, dtype=torch.uint8)
    assert len(np.unique(kmeans_colour(frames, 5, 0))) == 1
