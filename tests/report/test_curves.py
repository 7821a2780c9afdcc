from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slotcli.report.curves import BOTTOM, LEFT, LINES, PANEL, RIGHT, SCALE, TOP, Curve, write_curves

HEIGHT, WIDTH = PANEL


def drawn(path: Path, *curves: Curve) -> np.ndarray:
    write_curves(path, list(curves))
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def near(picture: np.ndarray, place: tuple[float, float], colour: tuple[int, int, int]) -> bool:
    """Whether a colour is at a place, from (0, 0) to (1, 1) in a lone panel's axes."""
    x = (LEFT + place[0] * (WIDTH - RIGHT - LEFT)) * SCALE
    y = (HEIGHT - BOTTOM - place[1] * (HEIGHT - BOTTOM - TOP)) * SCALE
    around = picture[round(y) - 3 : round(y) + 3, round(x) - 3 : round(x) + 3]
    return bool((abs(around - colour).sum(axis=-1) < 30).any())


def test_a_line_goes_through_its_points_and_between_them(tmp_path):
    picture = drawn(tmp_path / "a.png", Curve("Loss", {"": [(0, 0.0), (100, 10.0)]}))
    assert picture.shape == (HEIGHT * SCALE, WIDTH * SCALE, 3)
    # The axis has a twentieth of the values' range free on either side.
    for share in (0.01, 0.25, 0.5, 0.99):
        height = (share + 0.05) / 1.1
        assert near(picture, (share, height), LINES[0])
        assert not near(picture, (share, 1 - height), LINES[0]) or share == 0.5


def test_a_value_that_is_not_known_leaves_a_gap(tmp_path):
    points = [(0, 0.5), (25, 0.5), (50, None), (75, 0.5), (100, float("nan"))]
    picture = drawn(tmp_path / "a.png", Curve("Score", {"": points}, span=(0.0, 1.0)))
    # The last value that is known, of step 75, is where the axis ends.
    places = (0.1, 0.3, 0.4, 0.6, 0.9, 1.0)
    shown = [place for place in places if near(picture, (place, 0.5), LINES[0])]
    assert shown == [0.1, 0.3, 1.0]


def test_a_logarithmic_scale_bends_a_line(tmp_path):
    points = [(step, 10.0 ** (step / 50)) for step in range(0, 101, 2)]
    straight = drawn(tmp_path / "a.png", Curve("Loss", {"": points}, logarithmic=True))
    bent = drawn(tmp_path / "b.png", Curve("Loss", {"": points}))
    assert near(straight, (0.5, 0.5), LINES[0])
    assert not near(bent, (0.5, 0.5), LINES[0])


def test_runs_have_colours_of_their_own(tmp_path):
    lines = {"seed 0": [(0, 0.0), (9, 0.0)], "seed 1": [(0, 1.0), (9, 1.0)]}
    picture = drawn(tmp_path / "a.png", Curve("Score", lines))
    assert near(picture, (0.5, 0.05 / 1.1), LINES[0])
    assert near(picture, (0.5, 1.05 / 1.1), LINES[1])


def test_a_limit_is_shown_where_no_value_comes_near(tmp_path):
    points = {"": [(0, 0.1), (10, 0.2)]}
    with_limit = drawn(tmp_path / "a.png", Curve("Score", points, span=(0.0, 1.0), limit=0.9))
    without = drawn(tmp_path / "b.png", Curve("Score", points, span=(0.0, 1.0)))
    rows = np.flatnonzero((with_limit != without).any(axis=(1, 2)))
    place = (HEIGHT - BOTTOM - (0.9 + 0.05) / 1.1 * (HEIGHT - BOTTOM - TOP)) * SCALE
    assert abs(rows - place).max() <= 3


def test_many_noisy_values_are_smoothed(tmp_path):
    points = [(step, float(step % 2)) for step in range(500)]
    picture = drawn(tmp_path / "a.png", Curve("Loss", {"": points}, noisy=True))
    assert near(picture, (0.5, 0.5), LINES[0])
    assert not near(picture, (0.5, 0.95), LINES[0])


def test_three_panels_a_row_and_equal_bytes(tmp_path):
    curves = [Curve(f"Figure {index}", {"": [(1, 1.0)]}) for index in range(4)]
    assert drawn(tmp_path / "a.png", *curves).shape == (2 * HEIGHT * SCALE, 3 * WIDTH * SCALE, 3)
    drawn(tmp_path / "b.png", *curves)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("points", [[], [(1, None)], [(0, 0.0)], [(7, -3.0)], [(1, 1e99), (2, 0)]])
def test_odd_lines_are_drawn(tmp_path, points):
    curve = Curve("Odd", {"": points}, logarithmic=True, noisy=True, limit=0.5)
    assert drawn(tmp_path / "a.png", curve).min() < 100
