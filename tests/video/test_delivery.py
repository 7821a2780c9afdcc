"""Files cut without loss are whole, files cut off are not: counted in frames."""

from pathlib import Path

import pytest
from video_files import encode, made, moving, moving_frames, read

from slotcli.video.delivery import clock_seconds

SOUND = ["-f", "lavfi", "-i", "sine=d=7"]


@pytest.fixture(scope="module")
def source(ffmpeg, tmp_path_factory) -> Path:
    """4 s of 10 frames each, a key frame every 2 s, with B-frames, and a sound of 7 s."""
    folder = tmp_path_factory.mktemp("source")
    return made(ffmpeg, folder / "t.mp4", *SOUND, *moving(4), "-map", "1", "-map", "0", "-g", "20")


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts", "flv"])
@pytest.mark.parametrize(
    "cut",
    [
        ["-ss", "1.55", "-t", "1.2"],
        ["-ss", "2"],
        ["-t", "1.25"],
        ["-ss", "0.33", "-to", "3.17"],
        ["-ss", "1.55", "-t", "1.2", "-an"],
    ],
)
def test_a_cut_without_loss_is_whole(ffmpeg, source, tmp_path, suffix, cut):
    path = made(ffmpeg, tmp_path / f"e.{suffix}", *cut[:2], "-i", source, *cut[2:], "-c", "copy")
    chunk, reader = read(path)
    damage = reader.damage
    assert len(chunk) > 10
    assert damage.missing in (0, None)
    assert damage.coverage in (1, None)
    assert damage.packet_errors == damage.corrupt_frames == 0
    assert damage.notes == []
    if suffix in ("mp4", "mov"):
        assert reader.info.declared_frames == reader.info.indexed_frames == len(chunk)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_leading_frames_of_an_open_group_are_no_loss(ffmpeg, tmp_path, suffix):
    """They need frames from before the cut, so that no player shows them."""
    options = ["-c:v", "libx265", "-x265-params", "open-gop=1:keyint=10:min-keyint=10:log-level=0"]
    whole = made(ffmpeg, tmp_path / "w.mkv", *moving(4), *options)
    path = made(ffmpeg, tmp_path / f"e.{suffix}", "-ss", "1.5", "-i", whole, "-c", "copy")
    chunk, reader = read(path)
    assert len(chunk) >= 20
    assert reader.damage.missing in (0, None)
    assert reader.damage.packet_errors == reader.damage.corrupt_frames == 0


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_uneven_frames_with_a_long_last_one_are_whole(ffmpeg, tmp_path, suffix):
    """As a recording of a screen: nothing moves at the end, and the last frame stays."""
    times = [0, 40, 80, 900, 940, 3000]
    path = encode(tmp_path / "v.mkv", moving_frames(6, (32, 48)), "ffv1", "bgr0", pts=times)
    kept = ["-c:v", "copy", "-strict", "-2"]
    copied = made(ffmpeg, tmp_path / f"e.{suffix}", "-i", path, *SOUND, *kept)
    _, reader = read(copied)
    assert reader.damage.missing == 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("c.mp4", ["-movflags", "+faststart"]),
        ("f.mp4", ["-movflags", "frag_keyframe+empty_moov"]),
        ("c.mkv", []),
        ("c.webm", ["-c:v", "libvpx", "-deadline", "realtime"]),
        ("c.avi", ["-c:v", "mpeg4"]),
        ("c.flv", []),
        ("c.ivf", ["-c:v", "libvpx", "-deadline", "realtime"]),
    ],
)
def test_frames_that_are_cut_off_are_counted(ffmpeg, tmp_path, name, options):
    path = made(ffmpeg, tmp_path / name, *moving(6), "-g", "5", *options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    chunk, reader = read(path)
    damage = reader.damage
    declared = len(chunk) + damage.packet_errors + damage.missing
    assert damage.missing >= 1
    # Fragments that are not there at all are declared nowhere.
    assert (len(chunk) < declared <= 60) if name == "f.mp4" else (abs(declared - 60) <= 2)
    assert damage.coverage == len(chunk) / (len(chunk) + damage.missing)


def test_what_lies_beyond_the_end_of_the_file_is_not_counted_as_there(ffmpeg, tmp_path):
    path = made(ffmpeg, tmp_path / "c.mp4", *moving(6), "-movflags", "+faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    chunk, reader = read(path)
    assert reader.info.declared_frames == 60
    assert len(chunk) - 1 <= reader.info.indexed_frames <= len(chunk) + 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:01:02.500000000", 62.5), ("", None), ("1:2", None), ("0:0:inf", None), ("a:b:c", None)],
)
def test_clock_seconds(text, seconds):
    assert clock_seconds(text) == seconds
