from fractions import Fraction

import av
import numpy as np
import pytest

from slotcli.report.overlay import OverlayWriter, fit, overlay_frame, shrink
from slotcli.report.palette import slot_colours


def scene() -> tuple[np.ndarray, np.ndarray]:
    frame = np.random.default_rng(0).integers(0, 256, size=(40, 60, 3), dtype=np.uint8)
    labels = np.zeros((40, 60), np.uint8)
    labels[5:20, 5:20] = 1
    labels[10:30, 20:40] = 2
    labels[:, 50:] = 255
    return frame, labels


def test_background_stays_slots_are_blended_and_the_outside_is_darkened():
    frame, labels = scene()
    before = frame.copy()
    drawn = overlay_frame(frame, labels, 0.25)
    np.testing.assert_array_equal(frame, before)
    np.testing.assert_array_equal(drawn[labels == 0], frame[labels == 0])
    colour = slot_colours()[1].astype(float)
    inner = (slice(6, 19), slice(6, 19))
    np.testing.assert_allclose(drawn[inner], 0.75 * frame[inner] + 0.25 * colour, atol=0.5)
    np.testing.assert_allclose(drawn[:, 50:], 0.4 * frame[:, 50:], atol=0.5)


def test_contours_are_solid_and_one_pixel_thick_on_both_sides_of_a_border():
    frame, labels = scene()
    drawn = overlay_frame(frame, labels, 0.0)
    colours = slot_colours()
    assert (drawn[5, 5:20] == colours[1]).all()
    assert (drawn[10:20, 19] == colours[1]).all()
    assert (drawn[10:20, 20] == colours[2]).all()
    np.testing.assert_array_equal(drawn[12:28, 22:38], frame[12:28, 22:38])


def test_fit_keeps_shape_and_never_enlarges():
    assert fit((720, 1280), (1280, 1280)) == (720, 1280)
    assert fit((2160, 3840), (1280, 1280)) == (720, 1280)
    assert fit((16, 4000), (180, 240)) == (1, 240)
    assert fit((90, 100), (180, 240)) == (90, 100)


@pytest.mark.parametrize("width", [59, 40, 31, 30, 29, 7])
def test_shrinking_takes_in_every_pixel(width):
    labels = np.zeros((40, 60), np.uint8)
    size = fit(labels.shape, (40, width))
    for column in range(60):
        frame = np.zeros((40, 60, 3), np.uint8)
        frame[:, column] = 255
        small, small_labels = shrink(frame, labels, size)
        assert small.shape[:2] == small_labels.shape == size
        assert small.any()


@pytest.mark.parametrize(
    ("size", "expected"),
    [((40, 60), (40, 60)), ((20, 2400), (12, 1280)), ((47, 61), (48, 62)), ((1, 1), (2, 2))],
)
def test_overlay_video(tmp_path, size, expected):
    frame = np.full((*size, 3), 90, np.uint8)
    labels = np.zeros(size, np.uint8)
    path = tmp_path / "overlay.mp4"
    with OverlayWriter(path, size, Fraction(1, 25), 0.5) as writer:
        for position in range(3):
            writer.write(frame, labels, position, 1)
    with av.open(path) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 3
    assert (frames[0].height, frames[0].width) == expected
    assert frames[0].format.name == "yuv420p"  # what every browser plays
    np.testing.assert_allclose(frames[0].to_ndarray(format="rgb24"), 90, atol=4)
