from pathlib import Path
from xml.etree import ElementTree

import pytest

from slotcli.report.curves import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Curve,
    panel_of,
    write_curves,
)

pytestmark = pytest.mark.slow

SVG = "{http://www.w3.org/2000/svg}"


def place(across: float, up: float) -> tuple[float, float]:
    """A place in a panel's axes, from (0, 0) to (1, 1), in units of its view box."""
    return LEFT + across * (RIGHT - LEFT), BOTTOM - up * (BOTTOM - TOP)


def approx(line: list[tuple[float, float]]) -> list:
    return [pytest.approx(each) for each in line]


def test_a_line_goes_through_its_points() -> None:
    (line,) = panel_of(Curve("Loss", [(0, 0.0), (100, 10.0)])).lines
    # The axis has a twentieth of the values' range free on either side.
    assert line == approx([place(0, 0.05 / 1.1), place(1, 1.05 / 1.1)])


def test_a_value_that_is_not_known_leaves_a_gap() -> None:
    points = [(0, 0.5), (25, 0.5), (50, None), (75, 0.5), (100, float("nan"))]
    panel = panel_of(Curve("Score", points, span=(0.0, 1.0)))
    # The last value that is known, of step 75, is where the axis ends.
    assert panel.lines == [
        approx([place(0, 0.5), place(1 / 3, 0.5)]),
        approx([place(1, 0.5)]),
    ]
    assert [text for _, _, text in panel.dots] == ["0: 0.5", "25: 0.5", "75: 0.5"]
    assert panel.last == "0.5"


def test_a_logarithmic_scale_bends_a_line() -> None:
    points = [(step, 10.0 ** (step / 50)) for step in range(0, 101, 2)]
    (straight,) = panel_of(Curve("Loss", points, logarithmic=True)).lines
    (bent,) = panel_of(Curve("Loss", points)).lines
    assert straight[25] == pytest.approx(place(0.5, 0.5))
    assert bent[25][1] > place(0.5, 0.2)[1]


def test_a_limit_is_shown_where_no_value_comes_near() -> None:
    points = [(0, 0.1), (10, 0.2)]
    limit = panel_of(Curve("Score", points, span=(0.0, 1.0), limit=0.9)).limit
    assert limit == pytest.approx(place(0, (0.9 + 0.05) / 1.1)[1])
    assert panel_of(Curve("Score", points)).limit is None


def test_many_noisy_values_are_smoothed() -> None:
    points = [(step, float(step % 2)) for step in range(500)]
    panel = panel_of(Curve("Loss", points, noisy=True))
    assert max(y for _, y in panel.faint[0]) - min(y for _, y in panel.faint[0]) > 100
    assert all(abs(y - place(0, 0.5)[1]) < 10 for _, y in panel.lines[0][5:-5])
    assert not panel.dots


def test_a_long_run_keeps_its_extremes_in_few_points() -> None:
    points = [(step, 9.0 if step == 20_001 else float(step % 7)) for step in range(50_000)]
    panel = panel_of(Curve("Score", points))
    assert len(panel.lines[0]) < 4 * (RIGHT - LEFT) + 4
    highest = min(panel.lines[0], key=lambda point: point[1])
    assert highest == pytest.approx(place(20_001 / 49_999, 9.45 / 9.9))


def test_the_file_has_three_panels_a_row_and_text(tmp_path: Path) -> None:
    titles = [f"<Figure {index}>" for index in range(4)]
    panels = [panel_of(Curve(title, [(1, 0.25), (2, None)], limit=0.5)) for title in titles]
    write_curves(tmp_path / "a.svg", panels)
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert (root.get("width"), root.get("height")) == (str(3 * WIDTH), str(2 * HEIGHT))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert [text for text in texts if text in titles] == titles
    places = [group.get("transform") for group in root.iter(f"{SVG}g")]
    assert places[1] == f"translate({WIDTH} 0)"
    assert places[3] == f"translate(0 {HEIGHT})"
    assert [dot[0].text for dot in root.iter(f"{SVG}circle")] == ["1: 0.25"] * 4


@pytest.mark.parametrize(
    "points", [[], [(1, None)], [(0, 0.0)], [(7, -3.0)], [(1, 1e99), (2, 0.0)]]
)
def test_odd_lines_are_drawn(tmp_path: Path, points: list) -> None:
    panel = panel_of(Curve("Odd", points, logarithmic=True, noisy=True, limit=0.5))
    write_curves(tmp_path / "a.svg", [panel])
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert "nan" not in ElementTree.tostring(root, "unicode")
    assert len(list(root.iter(f"{SVG}circle"))) == len([v for _, v in points if v is not None])
