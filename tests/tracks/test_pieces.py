import numpy as np
import pytest
from scipy import ndimage

from slotcli.tracks.pieces import Pieces


def noise(seed: int, outside: bool = True) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (6, 8)).repeat(5, 0).repeat(6, 1)
    labels = np.where(rng.random(labels.shape) < 0.05, rng.integers(0, 4, labels.shape), labels)
    labels = labels.astype(np.uint8)
    if outside:
        labels[:, :4] = 255
    return labels


def pieces(labels: np.ndarray) -> list[tuple[int, np.ndarray]]:
    found = []
    for label in np.unique(labels[labels < 255]):
        numbers, count = ndimage.label(labels == label)
        found += [(int(label), numbers == number + 1) for number in range(count)]
    return found


@pytest.mark.parametrize("least", [20.0, 20 / (30 * 48)])
def test_small_pieces_go_and_the_rest_stays(least):
    for seed in range(5):
        labels = noise(seed)
        tidied = Pieces(least).tidied(labels)
        small = np.zeros(labels.shape, bool)
        for _, piece in pieces(labels):
            small |= piece & (piece.sum() < 20)
        assert small.any()
        np.testing.assert_array_equal(tidied[~small], labels[~small])
        _, nearest = ndimage.distance_transform_edt(small | (labels == 255), return_indices=True)
        distance = np.hypot(*(nearest - np.indices(labels.shape)))
        stays = np.argwhere(~small & (labels < 255))
        for y, x in np.argwhere(small):
            away = np.hypot(*(stays - (y, x)).T)
            # OpenCV's distances are off by two percent.
            near = stays[away <= 1.03 * distance[y, x] + 1e-6]
            assert tidied[y, x] in {labels[tuple(place)] for place in near}


def test_the_largest_piece_of_each_object():
    for seed in range(5):
        labels = noise(seed, outside=False)
        tidied = Pieces(largest=True).tidied(labels)
        for label in np.unique(labels):
            own = [piece for other, piece in pieces(labels) if other == label]
            largest = max(own, key=np.sum)
            assert (tidied[largest] == label).all()
            if label == 0:
                assert all((tidied[piece] == 0).all() for piece in own)
            else:
                assert sum(piece.sum() > largest.sum() for piece in own) == 0
                lost = [piece for piece in own if piece.sum() < largest.sum()]
                assert lost


def test_what_cannot_be_tidied_stays():
    labels = noise(0)
    assert Pieces().tidied(labels) is labels
    dots = np.indices((6, 6)).sum(0).astype(np.uint8) % 2 + 1
    tidied = Pieces(2.0).tidied(dots)
    assert len(np.unique(tidied)) == 1  # the first piece is as large as any
    outside = np.full((4, 4), 255, np.uint8)
    np.testing.assert_array_equal(Pieces(1.0, largest=True).tidied(outside), outside)
