"""Whether a source is the one of before: by its whole content, read no more often than need be."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slotcli.video import source_identity as identities
from slotcli.video.source_identity import source_identity


@pytest.fixture
def later(monkeypatch):
    """The clock is an hour ahead, so that nothing was written just now."""
    ahead = time.time_ns() + 3600 * 10**9
    monkeypatch.setattr(identities.time, "time_ns", lambda: ahead)


def images(folder: Path) -> Path:
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (8, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.bmp")
    return folder


def identified(source: Path, known=None):
    hashed: list[bool] = []
    return source_identity(source, known, lambda: hashed.append(True)), bool(hashed)


def test_an_unchanged_source_is_not_read_again(tmp_path, later):
    for source in (images(tmp_path / "in"), tmp_path / "in" / "0.bmp"):
        first, read = identified(source)
        assert read
        assert identified(source, first) == (first, False)


def test_what_was_written_just_now_is_read_again(tmp_path):
    source = images(tmp_path / "in")
    first, _ = identified(source)
    assert first.state is None
    assert identified(source, first) == (first, True)


def test_a_folder_mirrored_in_place_is_another_one(tmp_path, later):
    source = images(tmp_path / "in")
    first, _ = identified(source)
    for path in source.iterdir():
        state, size = path.stat(), path.stat().st_size
        pixels = np.asarray(Image.open(path))[:, ::-1]
        Image.fromarray(np.ascontiguousarray(pixels)).save(path)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert path.stat().st_size == size
    second, read = identified(source, first)
    assert read
    assert second.digest != first.digest


def test_a_file_overwritten_in_its_middle_is_another_one(tmp_path, later):
    source = tmp_path / "a.mp4"
    source.write_bytes(bytes(5 << 20))
    first, _ = identified(source)
    state = source.stat()
    with source.open("r+b") as file:
        file.seek(5 << 19)
        file.write(b"x")
    os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert identified(source, first)[0].digest != first.digest


def test_swapped_renamed_and_added_images_are_another_clip(tmp_path, later):
    source = images(tmp_path / "in")
    first, _ = identified(source)
    (source / "0.bmp").rename(source / "x.bmp")
    (source / "1.bmp").rename(source / "0.bmp")
    (source / "x.bmp").rename(source / "1.bmp")
    swapped, _ = identified(source, first)
    shutil.copy(source / "2.bmp", source / "3.bmp")
    added, _ = identified(source, first)
    assert len({first.digest, swapped.digest, added.digest}) == 3


def test_a_copy_with_other_times_is_the_same(tmp_path, later):
    source = images(tmp_path / "in")
    (source / "notes.txt").write_text("no image")
    first, _ = identified(source)
    shutil.copytree(source, tmp_path / "copy")
    (tmp_path / "copy" / "notes.txt").write_text("changed")
    second, read = identified(tmp_path / "copy", first)
    assert read
    assert second.digest == first.digest
