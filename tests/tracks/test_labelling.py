import numpy as np
import pytest

from slotcli.tracks.labelling import Labelling
from slotcli.tracks.pieces import Pieces
from slotcli.tracks.transform import Transform

WHOLE = Transform((24, 30), (0, 0, 24, 30), (32, 32))
CROPPED = Transform((24, 30), (2, 5, 20, 20), (32, 32))


def shares(seed: int) -> np.ndarray:
    found = np.exp(2 * np.random.default_rng(seed).normal(0, 1, (4, 8, 8)))
    return (found / found.sum(0)).astype(np.float16)


def frame(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 30, 3), np.uint8)


@pytest.mark.parametrize("transform", [WHOLE, CROPPED])
@pytest.mark.parametrize("edges", ["bilinear", "guided"])
def test_confidence_against_a_naive_loop(transform, edges):
    labelling = Labelling(transform, (0, 2), edges)
    attention = shares(0)
    labels = labelling.labels(attention, frame(0))
    found = labelling.confidence(attention, labels)
    top, left, height, width = transform.crop
    of_label = {0: attention[0].astype(float) + attention[2], 2: attention[1], 4: attention[3]}
    seen = {}
    for y in range(height):
        for x in range(width):
            label = int(labels[top + y, left + x])
            seen.setdefault(label, []).append(of_label[label][y * 8 // height, x * 8 // width])
    assert set(seen) == {0, 2, 4}
    for label in range(255):
        expected = np.mean(seen[label], dtype=float) if label in seen else np.nan
        assert found[label] == pytest.approx(expected, abs=1e-3, nan_ok=True)


@pytest.mark.parametrize("edges", ["bilinear", "guided"])
def test_a_background_of_several_slots_is_their_union(edges):
    attention = shares(1)
    alone = Labelling(CROPPED, (), edges).labels(attention, frame(1))
    union = Labelling(CROPPED, (1, 3), edges).labels(attention, frame(1))
    np.testing.assert_array_equal(union, np.where(np.isin(alone, (2, 4)), 0, alone))
    assert (alone == 255).sum() == 24 * 30 - 20 * 20


def test_pieces_are_tidied_once_labels_are_joined():
    attention = shares(2)
    labels = Labelling(WHOLE, (0, 1)).labels(attention, None)
    tidy = Labelling(WHOLE, (0, 1), pieces=Pieces(30.0)).labels(attention, None)
    np.testing.assert_array_equal(tidy, Pieces(30.0).tidied(labels))
    assert (tidy != labels).any()
