import math
from itertools import product

import numpy as np
import pytest

from slotcli.tracks.fitting import STEP, fit_transform, shape_like


@pytest.mark.parametrize(
    ("source", "side", "expected"),
    [
        ((360, 640), 128, (96, 160)),
        ((1920, 1080), 128, (160, 96)),
        ((480, 640), 128, (96, 128)),
        ((77, 77), 128, (128, 128)),
        ((480, 854), 256, (192, 352)),
        ((1, 4000), 64, (32, 512)),
    ],
)
def test_known_shapes(source, side, expected):
    assert shape_like(source, side**2) == expected


def test_no_other_shape_is_nearer():
    rng = np.random.default_rng(0)
    sides = range(STEP, 20 * STEP, STEP)
    for _ in range(20):
        height, width = (int(side) for side in rng.integers(100, 900, 2))
        area = int(rng.integers(64, 300)) ** 2
        found = shape_like((height, width), area)

        def error(size: tuple[int, int]) -> float:
            off = abs(math.log(size[0] / size[1] * width / height))  # noqa: B023
            return off + 0.3 * abs(math.log(size[0] * size[1] / area))  # noqa: B023

        assert error(found) <= min(map(error, product(sides, sides))) + 1e-9
        assert shape_like(found, found[0] * found[1]) == found
        assert found[0] * found[1] <= 4 * area


def test_fits():
    source, whole = (360, 640), (0, 0, 360, 640)
    assert fit_transform(source, (128, 128), "squeeze").crop == whole
    keep = fit_transform(source, (128, 128), "keep")
    assert (keep.crop, keep.model_size) == (whole, (96, 160))
    exact = fit_transform(source, (64, 64), "keep", exact=True)
    assert (exact.crop, exact.model_size) == (whole, (64, 64))
    assert fit_transform(source, (128, 128), "crop").crop == (0, 140, 360, 360)
