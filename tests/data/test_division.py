"""Which clips are learnt from and which are held out."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slotcli.data.dataset import Dataset
from slotcli.data.division import MOST_HELD_OUT, Division, Excerpt, Excerpts, divide
from slotcli.errors import DataError
from slotcli.types import Clip


def taken(division: Division) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Clip and number of every frame of the two parts."""
    parts = (division.training, division.held_out)
    learnt, judged = (
        {(e.clip, e.start + number) for e in part for number in range(e.frames)} for part in parts
    )
    return learnt, judged


@given(st.lists(st.integers(1, 90), min_size=1, max_size=300))
def test_no_frame_is_in_both_parts_and_no_clip_where_there_are_more(lengths):
    try:
        division = divide(lengths, span=3, frames=6)
    except DataError:
        assert sum(length >= 3 for length in lengths) < 4
        return
    assert division == divide(lengths, span=3, frames=6)
    learnt, judged = taken(division)
    assert not learnt & judged
    assert all(number < lengths[clip] for clip, number in learnt | judged)
    assert 2 <= len(division.held_out) <= MOST_HELD_OUT
    assert all(excerpt.frames >= 3 for excerpt in division.training)
    usable = sum(length >= 3 for length in lengths)
    assert division.by_clip == (usable >= 4)
    if usable > 1:
        assert not {clip for clip, _ in learnt} & {clip for clip, _ in judged}
    if division.by_clip:
        assert len(division.training) + len(division.held_out) == usable


def test_a_quarter_is_held_out_evenly_spread():
    division = divide([10] * 16, span=3, frames=6)
    assert [excerpt.clip for excerpt in division.held_out] == [2, 6, 10, 14]


@pytest.mark.parametrize("lengths", [[54], [400], [18, 3], [3, 40, 3]])
def test_windows_of_one_clip_are_apart_in_time(lengths):
    division = divide(lengths, span=3, frames=6)
    starts = [excerpt.start for excerpt in division.held_out]
    assert all(later - earlier >= 12 for earlier, later in pairwise(starts))
    if len(lengths) == 1:
        only = division.training[0]
        assert only.start + only.frames + 6 <= starts[0]


@pytest.mark.parametrize("lengths", [[1], [53], [17, 17, 17], [30, 2], [2] * 20])
def test_too_little_says_how_much_is_needed(lengths):
    with pytest.raises(DataError) as raised:
        divide(lengths, span=3, frames=6)
    assert "4 clips of 3 frames or more, or a single one of 57" in raised.value.advice


class Numbered(Dataset):
    """Clips whose frames hold their own number."""

    labelled = False

    def __len__(self) -> int:
        return 2

    def name(self, index: int) -> str:
        return "ab"[index]

    def frames(self, index: int) -> int:
        return 20

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        numbers = torch.arange(start, start + length * stride, stride, dtype=torch.uint8)
        return Clip((100 * index + numbers)[:, None, None, None].expand(-1, 3, 1, 1))


def test_an_excerpt_begins_where_it_is_cut():
    excerpts = Excerpts(Numbered(), [Excerpt(1, 5, 6), Excerpt(0, 0, 20)])
    assert len(excerpts) == 2
    assert (excerpts.name(0), excerpts.name(1)) == ("b, frames 5 to 10", "a")
    assert (excerpts.frames(0), excerpts.frames(1)) == (6, 20)
    frames = excerpts.clip(0, 1, 2, stride=3).frames
    assert frames[:, 0, 0, 0].tolist() == [106, 109]
