import math

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
        ((1, 4000), 64, (32, 256)),
    ],
)
def test_known_shapes(source, side, expected):
    assert shape_like(source, side**2) == expected


def test_of_any_source():
    rng = np.random.default_rng(0)
    for _ in range(60):
        height, width = (int(side) for side in rng.integers(30, 3000, 2))
        area = int(rng.integers(64, 400)) ** 2
        found = shape_like((height, width), area)
        assert all(side % STEP == 0 for side in found)
        assert shape_like((width, height), area) == found[::-1]
        again = shape_like(found, found[0] * found[1])
        assert again == found
        if 1 / 3 < height / width < 3:
            assert 0.5 <= found[0] * found[1] / area <= 2
            off = abs(math.log(found[0] / found[1] * width / height))
            # A side is off by half a step at most, were the other one exact.
            assert off <= math.log(1 + STEP / min(found)) + 0.07


def test_fits():
    source, whole = (360, 640), (0, 0, 360, 640)
    assert fit_transform(source, (128, 128), "squeeze").crop == whole
    keep = fit_transform(source, (128, 128), "keep")
    assert (keep.crop, keep.model_size) == (whole, (96, 160))
    exact = fit_transform(source, (64, 64), "keep", exact=True)
    assert (exact.crop, exact.model_size) == (whole, (64, 64))
    assert fit_transform(source, (128, 128), "crop").crop == (0, 140, 360, 360)
