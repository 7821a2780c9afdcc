import numpy as np
import pytest
from PIL import Image

from slotcli.report.strip import StripBuilder


def strip_of(num_frames: int, path) -> tuple[np.ndarray, int]:
    builder = StripBuilder(0.5)
    largest = 0
    for position in range(num_frames):
        frame = np.full((20, 30, 3), position % 251, np.uint8)
        builder.add(frame, np.zeros((20, 30), np.uint8))
        largest = max(largest, len(builder))
    builder.write(path)
    with Image.open(path) as image:
        return np.array(image), largest


@pytest.mark.parametrize("num_frames", [1, 2, 7, 8, 9, 15, 16, 17, 100, 250])
def test_frames_are_few_evenly_spaced_and_in_order(tmp_path, num_frames):
    strip, largest = strip_of(num_frames, tmp_path / "strip.png")
    columns = min(8, num_frames)
    assert largest <= 16
    assert strip.shape == (44, columns * 34 - 4, 3)
    shown = strip[5, 5::34, 0].astype(int)
    np.testing.assert_array_equal(strip[30, 5::34, 0], shown)
    assert shown[0] == 0
    gaps = np.diff(shown)
    if columns > 1:
        assert gaps.min() >= 1
        assert gaps.max() <= 2 * gaps.min()
        assert shown[-1] + gaps.max() >= 0.85 * (num_frames - 1)


def test_big_frames_become_thumbnails(tmp_path):
    builder = StripBuilder(0.5)
    builder.add(np.zeros((1080, 1920, 3), np.uint8), np.ones((1080, 1920), np.uint8))
    builder.write(tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as image:
        assert image.size == (240, 2 * 135 + 4)
