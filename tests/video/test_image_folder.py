"""Folders of images read as clips."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from video_files import moving_frames, read

from slotcli.errors import DataError, NoInputError
from slotcli.types import FLAG_FORMAT_CHANGED
from slotcli.video.images import ImageFolderReader
from slotcli.video.reader import open_clip, probe


def test_natural_order_and_timing(tmp_path):
    frames = moving_frames(12, (20, 30))
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"frame{index}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_text("nor this")
    chunk, reader = read(tmp_path, length=5)
    np.testing.assert_array_equal(chunk.frames, frames)
    np.testing.assert_array_equal(chunk.pts, np.arange(12))
    assert reader.info.time_base == Fraction(1, 12)
    assert (chunk.duration == 1).all()
    assert reader.info.declared_frames == reader.damage.decoded == 12
    assert reader.damage.coverage == 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "webp", "bmp", "tif"])
def test_formats(tmp_path, suffix):
    frame = moving_frames(1, (20, 30))[0]
    Image.fromarray(frame).save(tmp_path / f"a.{suffix}", quality=95)
    chunk, _ = read(tmp_path)
    assert np.abs(chunk.frames[0].astype(int) - frame).mean() < 5


def test_kinds_of_pixels(tmp_path):
    gray = np.arange(600, dtype=np.uint8).reshape(20, 30)
    palette = Image.fromarray(gray % 4).convert("P")
    palette.putpalette([10, 20, 30, 200, 100, 0, 0, 0, 255, 255, 255, 255])
    palette.save(tmp_path / "1.png")
    Image.fromarray(gray).save(tmp_path / "2.png")
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "3.png")
    Image.fromarray(np.dstack([gray, gray, gray, np.zeros_like(gray)])).save(tmp_path / "4.png")
    chunk, reader = read(tmp_path)
    colours = np.array([[10, 20, 30], [200, 100, 0], [0, 0, 255], [255, 255, 255]])
    np.testing.assert_array_equal(chunk.frames[0], colours[gray % 4])
    for index in (1, 2):
        np.testing.assert_array_equal(chunk.frames[index], np.dstack([gray] * 3))
    assert (chunk.frames[3] == 128).all()
    assert "mid-gray" in " ".join(reader.damage.notes)


def test_camera_orientation(tmp_path):
    frame = moving_frames(1, (20, 30))[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown rotated clockwise by 90 degrees
    Image.fromarray(frame).save(tmp_path / "a.png", exif=exif)
    chunk, reader = read(tmp_path)
    np.testing.assert_array_equal(chunk.frames[0], np.rot90(frame, -1))
    assert reader.info.size == (30, 20)
    assert reader.info.coded_size == (20, 30)


def test_sizes_follow_the_first(tmp_path):
    Image.fromarray(moving_frames(1, (20, 30))[0]).save(tmp_path / "1.png")
    Image.fromarray(moving_frames(1, (40, 60))[0]).save(tmp_path / "2.png")
    chunk, reader = read(tmp_path)
    assert chunk.frames.shape == (2, 20, 30, 3)
    assert chunk.flags.tolist() == [0, FLAG_FORMAT_CHANGED]
    assert reader.damage.format_changes == 1


def test_broken_images_leave_a_gap(tmp_path):
    for index, frame in enumerate(moving_frames(5, (40, 60))):
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    for index in (0, 2):
        path = tmp_path / f"{index}.png"
        path.write_bytes(path.read_bytes()[:200])
    chunk, reader = read(tmp_path)
    assert chunk.pts.tolist() == [1, 3, 4]
    assert chunk.duration.tolist() == [2, 1, 1]
    assert reader.damage.packet_errors == 2
    assert any("2.png" in note for note in reader.damage.notes)


def test_nothing_to_read(tmp_path):
    with pytest.raises(NoInputError):
        open_clip(tmp_path)
    with pytest.raises(NoInputError):
        ImageFolderReader(tmp_path / "none")
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError):
        open_clip(tmp_path)


def test_too_many_pixels(tmp_path):
    Image.fromarray(moving_frames(1, (20, 30))[0]).save(tmp_path / "1.png")
    with pytest.raises(DataError, match="599"):
        probe(tmp_path, max_pixels=599)
