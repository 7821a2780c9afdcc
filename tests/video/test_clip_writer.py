"""What was written must read back: frames, and times to the tick."""

import errno
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from video_files import moving_frames, read

from slotcli.errors import (
    AccessError,
    CannotCreateError,
    OutputError,
    UnavailableError,
)
from slotcli.video.writer import VideoWriter

TIME_BASES = [
    Fraction(1, 1000),
    Fraction(1, 90000),
    Fraction(1001, 30000),
    Fraction(1, 12800),
    Fraction(1, 25),
]


def write(path: Path, frames, pts, time_base, last: int = 1, codec="h264") -> Path:
    durations = [*np.diff(pts).tolist(), last]
    with VideoWriter(path, frames.shape[1:3], time_base, codec=codec) as writer:
        for frame, start, duration in zip(frames, pts, durations, strict=True):
            writer.write(frame, start, duration)
    return path


def check_timing(path: Path, pts: list[int], time_base: Fraction, last: int) -> None:
    write(path, moving_frames(len(pts), (16, 16)), pts, time_base, last)
    chunk, reader = read(path)
    origin = min(pts[0], 0)
    assert [int(t) * reader.info.time_base for t in chunk.pts] == [
        (t - origin) * time_base for t in pts
    ]
    assert int(chunk.duration[-1]) * reader.info.time_base == last * time_base
    assert not chunk.flags.any()
    assert reader.damage.coverage == 1


@pytest.mark.parametrize("time_base", TIME_BASES)
@pytest.mark.parametrize("first", [0, 1, 7001, -1001, 2**33])
def test_times_are_exact(tmp_path, time_base, first):
    pts = [first + t for t in (0, 1, 2, 35, 36, 5000)]
    check_timing(tmp_path / "clip.mp4", pts, time_base, last=77)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(TIME_BASES),
    st.integers(-(10**6), 10**6),
    st.lists(st.integers(1, 10**5), min_size=1, max_size=40),
)
def test_any_times_are_exact(tmp_path_factory, time_base, first, gaps):
    pts = np.cumsum([first, *gaps[:-1]]).tolist()
    check_timing(tmp_path_factory.mktemp("t") / "clip.mp4", pts, time_base, last=gaps[-1])


@pytest.mark.parametrize("size", [(48, 64), (95, 127), (1, 1), (48, 63)])
def test_h264_pixels(tmp_path, size):
    frames = moving_frames(6, size)
    path = write(tmp_path / "clip.mp4", frames, range(6), Fraction(1, 10))
    chunk, reader = read(path)
    assert chunk.frames.shape == frames.shape
    assert np.abs(chunk.frames.astype(int) - frames).mean() < 2.5
    odd = size[0] % 2 or size[1] % 2
    assert reader.info.pixel_format == ("yuv444p" if odd else "yuv420p")


def test_colours_are_marked_and_true(tmp_path):
    colours = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250], [128, 128, 128]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (4, 32, 32, 3))
    path = write(tmp_path / "clip.mp4", frames, range(4), Fraction(1, 10))
    with av.open(str(path)) as container:
        coded = container.streams.video[0].codec_context
        marks = (coded.colorspace, coded.color_range, coded.color_primaries, coded.color_trc)
        assert marks == (1, 1, 1, 1)
        first = next(container.decode(video=0))
        # BT.709 luma of the first colour, limited range.
        red, green, blue = colours[0] / 255
        expected = 16 + 219 * (0.2126 * red + 0.7152 * green + 0.0722 * blue)
        luma = np.frombuffer(first.planes[0], np.uint8)[0]
        assert abs(int(luma) - expected) <= 1.5
    chunk, _ = read(path)
    assert np.abs(chunk.frames.astype(int) - frames).max() <= 4


@pytest.mark.parametrize("size", [(48, 64), (95, 127), (1, 1), (9, 1)])
@pytest.mark.parametrize("pts", [[5, 6, 7, 9000], [-40000, 0, 90000, 90001]])
def test_gray_is_lossless(tmp_path, size, pts):
    labels = np.random.default_rng(0).integers(0, 256, (4, *size), np.uint8)
    path = write(tmp_path / "m.mkv", labels, pts, Fraction(1, 90000), codec="ffv1-gray")
    chunk, reader = read(path)
    np.testing.assert_array_equal(chunk.frames, np.repeat(labels[..., None], 3, axis=3))
    assert not chunk.flags.any()
    origin = min(pts[0], 0)
    seconds = [float(t * reader.info.time_base) for t in chunk.pts]
    wanted = [(t - origin) / 90000 for t in pts]
    assert np.abs(np.subtract(seconds, wanted)).max() <= 0.0025


@pytest.mark.parametrize("codec", ["h264", "h264-quick", "ffv1-gray"])
def test_equal_input_gives_equal_bytes(tmp_path, codec):
    frames = moving_frames(30, (96, 128))
    frames = frames[..., 0] if codec == "ffv1-gray" else frames
    contents = [
        write(tmp_path / name, frames, range(30), Fraction(1, 30), codec=codec).read_bytes()
        for name in ("a.part", "b.part")
    ]
    assert contents[0] == contents[1]


def test_index_comes_first(tmp_path):
    path = write(tmp_path / "a:b %d.mp4", moving_frames(3, (16, 16)), range(3), Fraction(1, 9))
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_exception_leaves_no_file(tmp_path):
    path = tmp_path / "clip.mp4"

    def interrupted() -> None:
        with VideoWriter(path, (16, 16), Fraction(1, 10), codec="h264") as writer:
            writer.write(moving_frames(1, (16, 16))[0], 0, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not path.exists()


def test_no_frames(tmp_path):
    with (
        pytest.raises(OutputError, match="no frames"),
        VideoWriter(tmp_path / "clip.mp4", (16, 16), Fraction(1, 10), codec="h264"),
    ):
        pass
    assert not (tmp_path / "clip.mp4").exists()


def test_wrong_calls(tmp_path):
    frame = moving_frames(1, (16, 16))[0]
    with VideoWriter(tmp_path / "c.mp4", (16, 16), Fraction(1, 10), codec="h264") as writer:
        writer.write(frame, 5, 1)
        with pytest.raises(ValueError, match="same time or later"):
            writer.write(frame, 5, 1)
        with pytest.raises(ValueError, match="shape"):
            writer.write(frame[:8], 6, 1)


def test_places_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(CannotCreateError):
        VideoWriter(tmp_path / "no" / "c.mp4", (16, 16), Fraction(1, 10), codec="h264")
    with pytest.raises(CannotCreateError):
        VideoWriter(tmp_path, (16, 16), Fraction(1, 10), codec="h264")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(AccessError):
        VideoWriter(tmp_path / "c.mp4", (16, 16), Fraction(1, 10), codec="h264")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
@pytest.mark.parametrize("codec", ["h264", "h264-quick", "ffv1-gray"])
def test_disk_full(codec, monkeypatch):
    # The device must outlive the test.
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    frames = moving_frames(40, (96, 128))
    frames = frames[..., 0] if codec == "ffv1-gray" else frames
    with pytest.raises(OutputError, match="No space left"):
        write(Path("/dev/full"), frames, range(40), Fraction(1, 30), codec=codec)


def test_encoder_missing(tmp_path, monkeypatch):
    def unknown(name: str, _: str) -> None:
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr("slotcli.video.writer.Codec", unknown)
    with pytest.raises(UnavailableError, match="libx264"):
        VideoWriter(tmp_path / "c.mp4", (16, 16), Fraction(1, 10), codec="h264")
