"""The repair of timestamps, for all sequences and for the known kinds of fault."""

import re
import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from video_files import encode, moving_frames, read

from slotcli.types import FLAG_TIMING_REPAIRED
from slotcli.video.timing import Clock, Guess

MILLI = Fraction(1, 1000)


def placed(times: list[int | None], rate: int = 10) -> list[tuple[int, bool]]:
    clock = Clock(MILLI, Fraction(rate))
    return [clock.timestamp(t) for t in times]


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


TICKS = st.none() | st.integers(-9, 9)


def guessed(frames: list[tuple[int | None, int | None]]) -> list[int | None]:
    guess = Guess()
    return [guess.time(pts, dts) for pts, dts in frames]


@given(st.lists(st.tuples(TICKS, TICKS)))
def test_guess_is_one_of_the_two_and_missing_only_with_both(frames):
    for time, (pts, dts) in zip(guessed(frames), frames, strict=True):
        assert time in (pts, dts)
        assert (time is None) == (pts is None and dts is None)


@given(st.sets(st.integers(0, 999), min_size=1).map(sorted), st.data())
def test_increasing_presentation_times_are_believed_whatever_decoding_says(times, data):
    frames = [(time, data.draw(TICKS)) for time in times]
    assert guessed(frames) == times


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([(0, 2), (3, 3), (2, 4), (4, 5), (1, 6)], [0, 3, 4, 5, 6]),
        ([(0, 2), (3, 3), (2, 4), (4, None)], [0, 3, 4, 4]),
        ([(0, 0), (2, 2), (1, 1), (3, 3)], [0, 2, 1, 3]),  # both run back: Clock decides
        ([(None, 1), (None, 2)], [1, 2]),
        ([(None, 4), (3, 5)], [4, 5]),  # behind the decoding time that stood in
        ([(5, None), (6, 4), (4, 5)], [5, 6, 4]),
    ],
)
def test_guesses(frames, expected):
    assert guessed(frames) == expected


def reordered(path: Path, pyramid: str) -> list[int]:
    """A clip with B-frames whose presentation times are its decoding times; the latter."""
    options = {"bf": "3", "b-pyramid": pyramid, "b-adapt": "0"}
    sound = encode(path.with_suffix(".mkv"), moving_frames(40, (48, 64)), codec_options=options)
    with av.open(str(sound)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        packets = (packet for packet in source.demux(video=0) if packet.size)
        for index, packet in enumerate(packets):
            packet.stream, packet.time_base = stream, Fraction(1, 10)
            packet.pts = packet.dts = index
            packet.duration = 1
            out.mux(packet)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert all(packet.pts == packet.dts for packet in packets)
    return [packet.dts for packet in packets]


def best_efforts(ffmpeg: str, path: Path) -> list[int]:
    """Where ffmpeg puts each frame that it decodes, in the stream's ticks."""
    passed_on = ["-fps_mode", "passthrough", "-vf", "showinfo", "-f", "null", "-"]
    command = [ffmpeg, "-hide_banner", "-copyts", "-i", str(path), *passed_on]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stderr
    return [int(pts) for pts in re.findall(r"showinfo.* pts: *(-?\d+) ", said)]


@pytest.mark.parametrize("pyramid", ["none", "normal"])
def test_decoding_times_in_place_of_presentation_times(ffmpeg, tmp_path, pyramid):
    path = tmp_path / "clip.mp4"
    packets = reordered(path, pyramid)
    chunk, reader = read(path)
    assert len(chunk) == len(packets) == 40
    expected = np.array(best_efforts(ffmpeg, path))
    made_up = (chunk.flags & FLAG_TIMING_REPAIRED) != 0
    np.testing.assert_array_equal(chunk.pts[~made_up], expected[~made_up])
    # FFmpeg has no decoding time for the frames that the decoder holds when the file ends.
    assert made_up.sum() == reader.damage.timing_repaired <= 2
    assert not made_up[:-2].any()
    # It gives gaps to the first frames too, until the presentation times have failed.
    in_time = chunk.pts[~made_up].tolist()
    assert in_time[6:] == packets[-len(in_time[6:]) :]
    assert in_time[0] == packets[0]
    assert len(reader.damage.notes) == 1
    assert "times of decoding" in reader.damage.notes[0]
    for length in (1, 40):
        again, _ = read(path, length)
        np.testing.assert_array_equal(again.pts, chunk.pts)
        np.testing.assert_array_equal(again.flags, chunk.flags)
