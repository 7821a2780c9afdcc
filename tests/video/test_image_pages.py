"""Image files of several pages, and values of 10 to 14 bits in files of 16."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from video_files import moving_frames, read

from slotcli.errors import DataError
from slotcli.video.reader import open_clip

GRAY = np.arange(600, dtype=np.uint16).reshape(20, 30)


def write_pages(path: Path, count: int = 4, **options: object) -> np.ndarray:
    frames = moving_frames(count, (20, 30))
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], **options)
    return frames


def test_a_stack_is_a_clip_of_its_pages(tmp_path):
    frames = write_pages(tmp_path / "a.tif")
    chunk, reader = read(tmp_path / "a.tif", length=3)
    np.testing.assert_array_equal(chunk.frames, frames)
    assert chunk.pts.tolist() == [0, 1, 2, 3]
    assert reader.info.time_base == Fraction(1, 12)
    assert reader.info.declared_frames == 4
    assert reader.damage.coverage == 1


@pytest.mark.parametrize("suffix", ["webp", "avif"])
def test_an_animation_has_its_own_times(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {"quality": 100}
    frames = write_pages(tmp_path / f"a.{suffix}", duration=[100, 40, 300, 100], **options)
    chunk, reader = read(tmp_path / f"a.{suffix}")
    assert np.abs(chunk.frames.astype(int) - frames).mean() < 5
    assert [pts * reader.info.time_base for pts in chunk.pts.tolist()] == [
        0,
        Fraction(1, 10),
        Fraction(14, 100),
        Fraction(44, 100),
    ]


def test_an_animated_png_is_whole(tmp_path):
    frames = write_pages(tmp_path / "a.png", duration=100)
    chunk, _ = read(tmp_path / "a.png")
    np.testing.assert_array_equal(chunk.frames, frames)


def test_a_page_that_repeats_another_smaller_is_no_frame(tmp_path):
    frames = moving_frames(2, (20, 30))
    first, second = (Image.fromarray(frame) for frame in frames)
    small = first.resize((15, 10))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(tmp_path / "a.tif", save_all=True, append_images=[small, second])
    chunk, _ = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(chunk.frames, frames)


def test_a_stack_among_images_is_named(tmp_path):
    for index, frame in enumerate(moving_frames(3, (20, 30))):
        Image.fromarray(frame).save(tmp_path / f"{index}.tif")
    write_pages(tmp_path / "3.tif")
    chunk, reader = read(tmp_path)
    assert len(chunk.frames) == 3
    assert any("3.tif has several pages" in note for note in reader.damage.notes)


@pytest.mark.parametrize("named", [True, False])
def test_a_photo_of_several_views_is_its_first_and_said_to_be(tmp_path, named):
    frames = moving_frames(2, (20, 30))
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=images[1:])
    chunk, reader = read(tmp_path / "a.jpg" if named else tmp_path)
    assert len(chunk.frames) == 1
    assert "several views" in " ".join(reader.damage.notes)


def test_a_damaged_stack_keeps_the_pages_that_can_be_read(tmp_path):
    write_pages(tmp_path / "a.tif", 4, compression="tiff_deflate")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with Image.open(tmp_path / "a.tif") as image:
        image.seek(2)
        offset, length = image.tag_v2[273][0], image.tag_v2[279][0]
    content[offset : offset + length] = bytes(length)
    (tmp_path / "a.tif").write_bytes(content)
    chunk, reader = read(tmp_path / "a.tif")
    assert chunk.pts.tolist() == [0, 1, 3]
    assert "page 3 could not be read" in " ".join(reader.damage.notes)


def test_what_is_no_image_is_an_error(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0" + bytes(40))
    with pytest.raises(DataError, match=r"a\.tif"):
        open_clip(tmp_path / "a.tif")


@pytest.mark.parametrize(("bits", "named"), [(10, False), (12, False), (12, True), (14, False)])
def test_values_of_fewer_bits_are_seen_and_said(tmp_path, bits, named):
    values = GRAY * ((2**bits - 1) // 600)
    Image.fromarray(values // 2).save(tmp_path / "0.png")
    Image.fromarray(values).save(tmp_path / "1.png")
    chunk, reader = read(tmp_path / "1.png" if named else tmp_path)
    np.testing.assert_array_equal(chunk.frames[-1][..., 0], values >> (bits - 8))
    assert any(f"read as {bits}-bit" in note for note in reader.damage.notes)
    assert reader.damage.packet_errors == 0


def test_true_16_bits_and_black_are_left_alone(tmp_path):
    Image.fromarray(GRAY * 100).save(tmp_path / "0.png")
    Image.fromarray(GRAY * 0).save(tmp_path / "1.png")
    chunk, reader = read(tmp_path)
    np.testing.assert_array_equal(chunk.frames[0][..., 0], (GRAY * 100) >> 8)
    assert reader.damage.notes == []


def test_a_brighter_value_than_those_measured_is_cut_off_and_said(tmp_path):
    for index in range(30):
        Image.fromarray(GRAY * (60 if index == 1 else 6)).save(tmp_path / f"{index}.png")
    chunk, reader = read(tmp_path)
    assert chunk.frames[1].max() == 255
    assert any("beyond 12 bits" in note and "1.png" in note for note in reader.damage.notes)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_12_bits_are_seen_too(tmp_path, suffix, channels):
    values = np.dstack([GRAY * 6, GRAY[::-1] * 6, GRAY * 3, np.full_like(GRAY, 0xFFFF)])
    pixels = np.ascontiguousarray(values[..., :channels])
    with av.open(str(tmp_path / f"1.{suffix}"), "w", format="image2") as out:
        stream = out.add_stream(suffix)
        stream.height, stream.width = GRAY.shape
        layout = {("png", 3): "rgb48be", ("png", 4): "rgba64be"}
        stream.pix_fmt = layout.get((suffix, channels), ["rgb48le", "rgba64le"][channels - 3])
        frame = av.VideoFrame.from_ndarray(pixels, ["rgb48le", "rgba64le"][channels - 3])
        out.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        out.mux(stream.encode(None))
    chunk, reader = read(tmp_path)
    np.testing.assert_array_equal(chunk.frames[0], values[..., :3] >> 4)
    assert any("12-bit" in note for note in reader.damage.notes)


@pytest.mark.parametrize("suffix", ["dpx", "exr", "pam"])
def test_images_that_only_ffmpeg_reads(tmp_path, ffmpeg, suffix):
    import subprocess

    source = "testsrc2=s=32x24:r=10:d=0.3"
    pattern = str(tmp_path / f"%d.{suffix}")
    subprocess.run([ffmpeg, "-v", "error", "-f", "lavfi", "-i", source, pattern], check=True)
    chunk, _ = read(tmp_path)
    assert chunk.frames.shape == (3, 24, 32, 3)
    assert chunk.frames.std() > 20


@pytest.mark.parametrize("orientation", range(1, 9))
def test_wide_colours_stand_upright(tmp_path, orientation):
    from slotcli.video.image_pixels import _turned

    pixels = np.arange(6, dtype=np.uint16).reshape(2, 3, 1)
    image = Image.fromarray(pixels[..., 0].astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    from PIL import ImageOps

    with Image.open(tmp_path / "a.png") as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(_turned(pixels, orientation)[..., 0], upright)
