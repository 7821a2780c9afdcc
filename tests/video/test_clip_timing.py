"""The repair of timestamps, for all sequences and for the known kinds of fault."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotcli.video.timing import Clock

MILLI = Fraction(1, 1000)


def placed(times: list[int | None], rate: int = 10) -> list[tuple[int, bool]]:
    clock = Clock(MILLI, Fraction(rate))
    return [clock.place(t) for t in times]


@given(st.lists(st.none() | st.integers(-(2**40), 2**40)))
def test_result_always_increases(times):
    result = [t for t, _ in placed(times)]
    assert all(a < b for a, b in pairwise(result))


@given(st.sets(st.integers(-(2**40), 2**40)).map(sorted))
def test_good_timestamps_are_left_alone(times):
    assert placed(times) == [(t, False) for t in times]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([None, None, None], [0, 100, 200]),
        ([0, None, 200], [0, 100, 200]),
        ([0, 100, 100, 200, 300], [0, 100, 150, 200, 300]),
        ([0, 100, 50, 200], [0, 100, 150, 200]),
        ([0, 100, 5000, 0, 100], [0, 100, 5000, 5100, 5200]),
    ],
)
def test_faults(times, expected):
    result = placed(times)
    assert [t for t, _ in result] == expected
    assert [repaired for _, repaired in result] == [
        t != e for t, e in zip(times, expected, strict=True)
    ]
