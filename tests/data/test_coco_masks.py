"""Masks of COCO's JSON against pycocotools, and damaged ones that would crash it."""

import math
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from slotcli.data.formats.coco_masks import decode_mask

SIZE = (30, 44)

# pycocotools 2.0 speaks to NumPy in the manner of before 2.0 when it decodes.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def masks() -> list[np.ndarray]:
    """Noise, blobs, stripes, all and nothing: runs from one pixel to the whole picture."""
    rng = np.random.default_rng(0)
    noise = [rng.random(SIZE) < share for share in (0.02, 0.5, 0.98)]
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    blobs = [(rows - 9) ** 2 + (columns - x) ** 2 < 60 for x in (0, 20, 43)]
    return [*noise, *blobs, rows % 2 == 0, columns % 2 == 1, rows < 0, rows >= 0]


def compressed(mask: np.ndarray) -> dict[str, Any]:
    """As JSON files hold it: pycocotools gives the letters as bytes."""
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def plain(mask: np.ndarray) -> dict[str, Any]:
    column_major = mask.T.ravel()
    changes = np.flatnonzero(np.diff(column_major)) + 1
    counts = np.diff([0, *changes, column_major.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if column_major[0] else counts}


@pytest.mark.parametrize("mask", masks())
def test_run_lengths_give_the_mask_that_pycocotools_wrote(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_mask(compressed(mask), SIZE), mask)
    rle: Any = plain(mask)
    np.testing.assert_array_equal(coco.decode(coco.frPyObjects(rle, *SIZE)), mask)
    np.testing.assert_array_equal(decode_mask(rle, SIZE), mask)


def test_polygons_fill_the_pixels_inside_of_them() -> None:
    expected = np.zeros(SIZE, bool)
    expected[3:8, 2:6] = expected[20:30, 30:34] = True
    polygons = [[2, 3, 6, 3, 6, 8, 2, 8], [30.0, 20, 34, 20, 34, 40, 30, 40]]
    np.testing.assert_array_equal(decode_mask(polygons, SIZE), expected)


@pytest.mark.parametrize(
    "broken",
    [
        {"size": [44, 30], "counts": [1320]},
        {"size": [30, 44], "counts": [1319]},
        {"size": [30, 44], "counts": [1300, 40]},
        {"size": [30, 44], "counts": [1330, -10]},
        {"size": [30, 44], "counts": [10**15]},
        {"size": [30, 44], "counts": [math.inf]},
        {"size": [30, 44], "counts": "é"},
        {"size": [30, 44], "counts": compressed(np.zeros(SIZE, bool))["counts"] + "o"},
        {"size": [30, 44], "counts": ""},
        {"size": [30, 44]},
        {"counts": [1320]},
        [],
        [[]],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[0, 0, 5, 0, 5, math.nan]],
        [[0, 0, 5, 0, 5, 1e9]],
        "counts",
        5,
    ],
)
def test_what_is_no_mask_is_refused(broken: object) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, OverflowError)):
        decode_mask(broken, SIZE)


def test_damaged_letters_are_refused_or_give_another_mask_of_the_size() -> None:
    rng = np.random.default_rng(1)
    good = compressed(masks()[1])["counts"]
    refused = 0
    for _ in range(300):
        letters = list(good[: rng.integers(1, len(good))])
        letters[rng.integers(len(letters))] = chr(rng.integers(0, 256))
        try:
            mask = decode_mask({"size": list(SIZE), "counts": "".join(letters)}, SIZE)
        except ValueError:
            refused += 1
        else:
            assert mask.shape == SIZE
    assert refused > 250
