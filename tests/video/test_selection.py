"""Which frames are used, against a plain list of frames."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotcli.types import FrameChunk
from slotcli.video.selection import Selection, select_frames

TICK = Fraction(1, 100)


def source(pts, last, length, seen=None):
    """A clip in chunks whose frame i is filled with i."""
    borders = np.append(pts, last)
    for start in range(0, len(pts), length):
        rows = np.arange(start, min(start + length, len(pts)))
        if seen is not None:
            seen.append(len(rows))
        yield FrameChunk(
            frames=np.broadcast_to(rows[:, None, None, None], (len(rows), 2, 2, 3)).astype(
                np.uint8
            ),
            pts=np.asarray(pts)[rows],
            duration=np.diff(borders)[rows],
            frame_index=rows,
            flags=(rows % 3).astype(np.uint8),
        )


@settings(max_examples=200, deadline=None)
@given(
    gaps=st.lists(st.integers(1, 30), min_size=1, max_size=40),
    first=st.integers(-20, 40),
    start=st.floats(0, 4),
    end=st.none() | st.floats(0, 6),
    stride=st.integers(1, 5),
    most=st.none() | st.integers(1, 12),
    length=st.integers(1, 9),
)
def test_it_is_what_a_plain_loop_picks(gaps, first, start, end, stride, most, length):
    pts = first + np.concatenate([[0], np.cumsum(gaps[:-1])]).astype(np.int64)
    last = int(pts[-1] + gaps[-1])
    inside = [
        i
        for i, time in enumerate(pts.tolist())
        if (time - first) / 100 >= start and (end is None or (time - first) / 100 < end)
    ]
    wanted = inside[::stride][:most]
    selection = Selection(start, end, stride, most)
    chunks = list(select_frames(source(pts, last, length), selection, TICK, length))
    found = [int(i) for chunk in chunks for i in chunk.frame_index]
    assert found == wanted
    assert [len(chunk) for chunk in chunks[:-1]] == [length] * (len(chunks) - 1)
    for chunk in chunks:
        assert (chunk.frames == chunk.frame_index[:, None, None, None]).all()
        np.testing.assert_array_equal(chunk.pts, pts[chunk.frame_index])
        np.testing.assert_array_equal(chunk.flags, chunk.frame_index % 3)
        assert (chunk.duration >= 1).all()
    if wanted:
        # Each frame lasts until the next one that is used.
        ends = np.concatenate([chunk.pts + chunk.duration for chunk in chunks])
        np.testing.assert_array_equal(ends[:-1], pts[wanted[1:]])
        borders = np.append(pts, last)
        assert ends[-1] == borders[wanted[-1] + 1]


def test_everything_passes_untouched():
    chunks = list(source(np.arange(10), 10, 4))
    assert list(select_frames(iter(chunks), Selection(), TICK, 4)) == chunks


@pytest.mark.parametrize(
    ("selection", "most_read"), [(Selection(end=0.1), 3), (Selection(max_frames=10), 3)]
)
def test_reading_stops_behind_the_last_frame(selection, most_read):
    seen = []
    chunks = list(select_frames(source(np.arange(1000), 1000, 5, seen), selection, TICK, 5))
    assert sum(map(len, chunks)) == 10
    assert len(seen) <= most_read
