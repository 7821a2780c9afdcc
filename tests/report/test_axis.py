import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotcli.report.axis import Axis, axis_of, format_number

VALUES = st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=8)


@given(VALUES, st.booleans())
def test_an_axis_has_room_for_every_value(values: list[float], logarithmic: bool):
    axis = axis_of(values, logarithmic=logarithmic)
    places = [axis.position(value) for value in sorted(values)]
    assert all(0 <= place <= 1 for place in places)
    assert places == sorted(places)
    assert axis.logarithmic <= (min(values) > 0)


@given(VALUES, st.booleans(), st.integers(2, 6))
def test_ticks_are_within_an_axis_and_few(values: list[float], logarithmic: bool, wanted: int):
    axis = axis_of(values, logarithmic=logarithmic)
    ticks = axis.ticks(wanted)
    assert 1 <= len(ticks) <= max(wanted + 1, 7)
    assert ticks == sorted(set(ticks))
    assert all(axis.low <= tick <= axis.high for tick in ticks)


def test_a_logarithm_is_taken_from_a_decade_on():
    assert axis_of([0.1, 1.0], logarithmic=True).logarithmic
    assert not axis_of([0.2, 1.0], logarithmic=True).logarithmic
    assert not axis_of([0.0, 1.0], logarithmic=True).logarithmic


def test_ticks_are_round():
    assert Axis(0.0, 8000.0).ticks(4) == [0, 2000, 4000, 6000, 8000]
    assert Axis(-0.05, 1.05).ticks(4) == [0.0, 0.5, 1.0]
    assert Axis(0.05, 20.0, logarithmic=True).ticks(4) == [0.1, 1.0, 10.0]
    assert math.isclose(Axis(0.1, 1000.0, logarithmic=True).position(10.0), 0.5)


def test_a_span_is_shown_and_one_value_has_room():
    axis = axis_of([0.5], span=(0.0, 1.0))
    assert axis.low < 0
    assert axis.high > 1
    assert axis_of([7.0]).position(7.0) == pytest.approx(0.5)
    assert axis_of([]).low < axis_of([]).high


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.5, "0.5"), (8000, "8000"), (2e5, "200k"), (1.5e6, "1.5M"), (4e-4, "4e-4")],
)
def test_number(value: float | int, text: str):
    assert format_number(value) == text
    assert format_number(-value) == (f"-{text}" if value else text)
