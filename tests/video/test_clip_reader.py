"""Sound files of every kind: pixels against a float64 conversion, geometry against coordinates."""

import os
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence
from video_files import encode, moving_frames, read, set_display_matrix

from slotcli.types import FLAG_FORMAT_CHANGED, FLAG_TIMING_REPAIRED
from slotcli.video.reader import ClipReader, probe

BT601, BT709 = (0.299, 0.114), (0.2126, 0.0722)
MARK_601, MARK_709, LIMITED, FULL = 5, 1, 1, 2


def reference_rgb(path: Path, weights: tuple[float, float], full: bool) -> np.ndarray:
    """RGB of a 4:4:4 file by the textbook, in float64, from the planes that FFmpeg decodes."""
    red, blue = weights
    pictures = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            bits = frame.format.components[0].bits
            planes = []
            for plane in frame.planes:
                kind = np.uint8 if bits == 8 else np.uint16
                rows = np.frombuffer(plane, kind).reshape(frame.height, -1)
                planes.append(rows[:, : frame.width].astype(np.float64) / 2 ** (bits - 8))
            low, luma, chroma = (0, 255, 255) if full else (16, 219, 224)
            y = (planes[0] - low) / luma
            cb, cr = ((plane - 128) / chroma for plane in planes[1:])
            r = y + 2 * (1 - red) * cr
            b = y + 2 * (1 - blue) * cb
            g = (y - red * r - blue * b) / (1 - red - blue)
            pictures.append(np.stack([r, g, b], axis=-1))
    return np.clip(np.stack(pictures) * 255, 0, 255)


@pytest.mark.parametrize(
    ("suffix", "codec", "pixel_format", "colour", "weights"),
    [
        ("mp4", "libx264", "yuv444p", (2, 0), BT601),
        ("mp4", "libx264", "yuv444p", (MARK_709, LIMITED), BT709),
        ("mp4", "libx264", "yuv444p", (MARK_709, FULL), BT709),
        ("mp4", "libx264", "yuv444p", (MARK_601, FULL), BT601),
        ("mp4", "libx264", "yuv444p10le", (MARK_709, LIMITED), BT709),
        ("webm", "libvpx-vp9", "yuv444p", (MARK_709, LIMITED), BT709),
        ("mov", "prores_ks", "yuv444p10le", (MARK_709, LIMITED), BT709),
        ("mkv", "ffv1", "yuv444p", (MARK_601, LIMITED), BT601),
    ],
)
def test_colours_follow_the_marked_matrix_and_range(
    tmp_path, suffix, codec, pixel_format, colour, weights
):
    frames = moving_frames(5, (48, 64))
    path = encode(tmp_path / f"clip.{suffix}", frames, codec, pixel_format, colour=colour)
    chunk, reader = read(path)
    expected = reference_rgb(path, weights, full=colour[1] == FULL)
    assert chunk.frames.shape == expected.shape
    assert np.abs(chunk.frames - expected).max() <= 1.6
    assert "444p" in reader.info.pixel_format
    assert reader.damage.notes == []
    assert not chunk.flags.any()


@pytest.mark.parametrize("size", [(48, 64), (127, 95), (1, 1)])
def test_lossless_rgb_comes_back_exactly(tmp_path, size):
    frames = moving_frames(9, size)
    path = encode(tmp_path / "clip.mkv", frames, "ffv1", "bgr0")
    chunk, reader = read(path, length=4)
    np.testing.assert_array_equal(chunk.frames, frames)
    np.testing.assert_array_equal(chunk.frame_index, np.arange(9))
    assert reader.info.size == reader.info.coded_size == size
    assert reader.damage.decoded == 9
    assert reader.damage.coverage == 1


@pytest.mark.parametrize(
    ("codec", "suffix", "left"), [("libx264", "mp4", True), ("ffv1", "mkv", False)]
)
def test_subsampled_colour_is_interpolated_where_it_was_sampled(tmp_path, codec, suffix, left):
    """4:2:0 by the textbook: H.264 samples chroma at the left of a pair, unmarked files amid it."""
    size = (32, 48)
    noise = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    path = encode(tmp_path / f"clip.{suffix}", noise, codec)

    def enlarged(plane: np.ndarray) -> np.ndarray:
        shift = 0 if left else 0.25
        y, x = np.arange(size[0]) / 2 - 0.25, np.arange(size[1]) / 2 - shift
        rows = np.stack([np.interp(x, np.arange(size[1] // 2), row) for row in plane])
        columns = [np.interp(y, np.arange(size[0] // 2), column) for column in rows.T]
        return (np.stack(columns, axis=1) - 128) / 224

    expected = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            luma, cb, cr = (
                np.frombuffer(p, np.uint8).reshape(p.height, -1)[:, : p.width] for p in frame.planes
            )
            y, cb, cr = (luma - 16.0) / 219, enlarged(cb), enlarged(cr)
            r, b = y + 1.402 * cr, y + 1.772 * cb
            expected.append(np.stack([r, (y - 0.299 * r - 0.114 * b) / 0.587, b], axis=-1))
    chunk, _ = read(path)
    difference = np.abs(chunk.frames - np.clip(np.stack(expected) * 255, 0, 255))
    assert difference.max() <= 1.6


@pytest.mark.parametrize("pixel_format", ["gray", "gray16le"])
def test_gray_is_full_range(tmp_path, pixel_format):
    gray = moving_frames(4, (32, 48))[..., 0]
    path = encode(tmp_path / "clip.mkv", gray, "ffv1", pixel_format, source_format="gray")
    chunk, _ = read(path)
    assert np.abs(chunk.frames.astype(int) - gray[..., None]).max() <= 1


@pytest.mark.parametrize(("codec", "suffix"), [("qtrle", "mov"), ("ffv1", "mkv"), ("png", "mov")])
def test_alpha_is_laid_on_mid_gray_and_noted(tmp_path, codec, suffix):
    rgb = moving_frames(3, (32, 48))
    alpha = np.broadcast_to(np.linspace(0, 255, 48).astype(np.uint8)[:, None], (3, 32, 48, 1))
    pixel_format = {"qtrle": "argb", "ffv1": "bgra", "png": "rgba"}[codec]
    frames = np.concatenate([rgb, alpha], axis=-1)
    path = encode(tmp_path / f"clip.{suffix}", frames, codec, pixel_format, source_format="rgba")
    chunk, reader = read(path)
    weight = alpha / 255
    assert np.abs(chunk.frames - (rgb * weight + 128 * (1 - weight))).max() <= 0.51
    assert "mid-gray" in " ".join(reader.damage.notes)


def test_animation_renamed(tmp_path):
    path = tmp_path / "clip.gif"
    images = [Image.fromarray(frame).quantize(16) for frame in moving_frames(4, (32, 48))]
    images[0].save(path, save_all=True, append_images=images[1:], duration=[50, 50, 200, 50])
    with Image.open(path) as animation:
        expected = [np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(animation)]
    chunk, reader = read(path.rename(tmp_path / "clip.mp4"))
    np.testing.assert_array_equal(chunk.frames, expected)
    seconds = [float(t * reader.info.time_base) for t in chunk.pts]
    assert seconds == pytest.approx([0, 0.05, 0.1, 0.3])


def test_still_renamed_is_a_clip_of_one_frame(tmp_path):
    frames = moving_frames(1, (20, 30))
    path = encode(tmp_path / "still.png", frames, "png", "rgb24", container="image2pipe")
    chunk, reader = read(path.rename(tmp_path / "still.mp4"))
    np.testing.assert_array_equal(chunk.frames, frames)
    assert chunk.duration[0] >= 1
    assert reader.damage.coverage in (None, 1)


@pytest.mark.parametrize("first", [(1, 0), (-1, 0), (0, 1), (0, -1)])
@pytest.mark.parametrize("second_sign", [1, -1])
def test_display_matrix(tmp_path, first, second_sign):
    """Every pixel must go where the matrix in the file sends its coordinates."""
    a, b = first
    c, d = (-b * second_sign, a * second_sign)
    upright = moving_frames(2, (32, 48))
    options = {"crf": "0"}
    path = encode(tmp_path / "clip.mp4", upright, "libx264rgb", "rgb24", codec_options=options)
    set_display_matrix(path, (a, b, c, d))
    height, width = (32, 48) if a else (48, 32)
    y, x = np.mgrid[0:32, 0:48]
    new_x, new_y = a * x + c * y, b * x + d * y
    expected = np.zeros((2, height, width, 3), np.uint8)
    expected[:, new_y - new_y.min(), new_x - new_x.min()] = upright
    chunk, reader = read(path)
    np.testing.assert_array_equal(chunk.frames, expected)
    assert reader.info.size == (height, width)
    assert reader.info.flipped == (second_sign == -1)


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(2), (32, 96)), (Fraction(1, 2), (64, 48))])
def test_pixels_become_square(tmp_path, aspect, size):
    path = encode(tmp_path / "clip.mp4", moving_frames(3, (32, 48)), aspect=aspect)
    chunk, reader = read(path)
    assert reader.info.size == chunk.frames.shape[1:3] == size
    assert reader.info.coded_size == (32, 48)
    assert reader.info.sample_aspect == aspect


def test_pixels_become_square_before_rotation(tmp_path):
    frames = moving_frames(3, (32, 48))
    path = encode(tmp_path / "clip.mp4", frames, aspect=Fraction(2))
    set_display_matrix(path, (0, 1, -1, 0))
    assert probe(path).size == (96, 32)
    assert probe(path).rotation == 270


def test_variable_frame_rate_keeps_every_timestamp(tmp_path):
    pts = [100, 133, 134, 500, 501, 2000]
    frames = moving_frames(6, (32, 48))
    path = encode(tmp_path / "clip.mkv", frames, "ffv1", pts=pts, time_base=Fraction(1, 1000))
    chunk, reader = read(path, length=4)
    assert reader.info.time_base == Fraction(1, 1000)
    np.testing.assert_array_equal(chunk.pts, pts)
    np.testing.assert_array_equal(chunk.duration[:-1], np.diff(pts))
    assert chunk.duration[-1] >= 1
    assert not chunk.flags.any()


def test_stream_without_timestamps_and_with_a_change_of_size(tmp_path):
    """Two raw H.264 streams, end to end: sizes differ, and there is no clock at all."""
    small = encode(tmp_path / "a.h264", moving_frames(5, (32, 48)), container="h264")
    large = encode(tmp_path / "b.h264", moving_frames(5, (64, 96)), container="h264")
    path = tmp_path / "both.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    chunk, reader = read(path)
    assert chunk.frames.shape == (10, 32, 48, 3)
    assert (np.diff(chunk.pts) > 0).all()
    assert ((chunk.flags & FLAG_FORMAT_CHANGED) != 0).tolist() == [False] * 5 + [True] * 5
    assert (chunk.flags & FLAG_TIMING_REPAIRED).all()
    assert reader.damage.format_changes == 5
    assert reader.damage.timing_repaired == 10


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("name", [b"\xff\xfe clip.mkv", b"a:b %03d\n.mkv", b"http:x.mkv"])
def test_odd_file_names(tmp_path, name):
    plain = encode(tmp_path / "plain.mkv", moving_frames(3, (32, 48)), "ffv1")
    odd = plain.rename(tmp_path / os.fsdecode(name))
    chunk, reader = read(odd)
    assert len(chunk) == 3
    assert reader.info.path == odd
    assert reader.info.name.isprintable()
    reader.info.name.encode("utf-8")


def test_info_before_decoding(tmp_path):
    path = encode(tmp_path / "clip.mp4", moving_frames(20, (32, 48)))
    info = probe(path)
    assert (info.codec, info.pixel_format) == ("h264", "yuv420p")
    assert info.bytes == path.stat().st_size
    assert info.average_rate == 10
    assert info.declared_frames == 20
    assert info.declared_seconds == pytest.approx(2)
    with ClipReader(path) as reader:
        assert reader.info == info
        assert reader.damage.decoded == 0
