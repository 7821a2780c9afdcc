"""Side data of frames: orientations are followed, kinds that nobody has heard of are survived."""

import io

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type
from PIL import Image, ImageOps
from video_files import made, read

from slotcli.video.side_data import display_matrix

ORIENTATION, MAKER = 274, 271


def photo(orientation: int, kind: str) -> tuple[bytes, np.ndarray]:
    """A photo as telephones take it, and what a viewer shows."""
    colours = np.zeros((48, 64, 3), np.uint8)
    colours[:24, :32] = [250, 20, 20]
    colours[24:, 32:] = [20, 20, 250]
    exif = Image.Exif()
    exif[MAKER], exif[ORIENTATION] = "P", orientation
    file = io.BytesIO()
    Image.fromarray(colours).save(file, kind, exif=exif)
    shown = ImageOps.exif_transpose(Image.open(file))
    return file.getvalue(), np.array(shown.convert("RGB"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("JPEG", "avi"), ("PNG", "mov")]
)
def test_exif_turns_photos_and_videos_of_them(ffmpeg, tmp_path, orientation, kind, suffix):
    content, shown = photo(orientation, kind)
    path = tmp_path / f"photo.{kind.lower()}"
    path.write_bytes(content)
    count = 1
    if suffix in ("avi", "mov"):
        count = 3
        loop = ["-framerate", "10", "-loop", "1", "-t", "0.3", "-i", path, "-c", "copy"]
        path = made(ffmpeg, tmp_path / f"photo.{suffix}", *loop)
    chunk, reader = read(path)
    assert chunk.frames.shape == (count, *shown.shape)
    assert reader.info.size == shown.shape[:2]
    assert np.abs(chunk.frames.astype(int) - shown).mean() < 3
    assert reader.damage.notes == []


@pytest.mark.parametrize("suffix", ["mkv", "mov", "mjpeg"])
def test_videos_of_photos_in_other_containers(ffmpeg, tmp_path, suffix):
    content, shown = photo(6, "JPEG")
    (tmp_path / "p.jpg").write_bytes(content)
    loop = ["-framerate", "10", "-loop", "1", "-t", "0.3", "-i", tmp_path / "p.jpg", "-c", "copy"]
    chunk, _ = read(made(ffmpeg, tmp_path / f"photo.{suffix}", *loop))
    assert chunk.frames.shape == (3, *shown.shape)


def test_kinds_without_a_name_hide_no_others(tmp_path):
    """Whatever number comes next, 31 being EXIF, whose name PyAV 18 lacks."""
    assert Type(10**6).value == 10**6
    assert Type(Type.DISPLAYMATRIX.value) is Type.DISPLAYMATRIX
    (tmp_path / "p.jpg").write_bytes(photo(6, "JPEG")[0])
    with av.open(str(tmp_path / "p.jpg")) as container:
        frame = next(container.decode(video=0))
    assert len(frame.side_data) == 2
    matrix = display_matrix(frame)
    assert matrix is not None
    assert len(matrix) == 36
