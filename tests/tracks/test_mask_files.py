"""What becomes of mask files when something goes wrong, and that equal masks are equal files."""

from contextlib import ExitStack
from fractions import Fraction

import numpy as np
import pytest
from labelled_clips import CLIPS, NAME, written

from slotcli.errors import CannotCreateError, OutputError
from slotcli.tracks.formats.all_formats import PLACES, open_mask_writers
from slotcli.tracks.formats.masked_clip import MaskedClip

SIZE = (64, 80)
CLIP = MaskedClip(NAME, SIZE, Fraction(1, 25))
OF_ONE_FILE = sorted(name for name, place in PLACES.items() if "." in place)


def noise():
    return np.random.default_rng(0).integers(0, 256, SIZE).astype(np.uint8)


def files_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", PLACES)
def test_equal_masks_are_equal_files(tmp_path, monkeypatch, name):
    written(tmp_path / "a", name, CLIPS["moving"])
    monkeypatch.setattr("time.time", lambda: 2e9)
    written(tmp_path / "b", name, CLIPS["moving"])
    first = files_in(tmp_path / "a")
    assert first
    assert files_in(tmp_path / "b") == first


def test_a_format_named_twice_is_written_once(tmp_path):
    with ExitStack() as files:
        writers = open_mask_writers(["mots", "png", "mots"], tmp_path, CLIP, files)
        assert len(writers) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"mots.txt", "masks"}


@pytest.mark.parametrize("name", OF_ONE_FILE)
@pytest.mark.parametrize("reason", [RuntimeError, KeyboardInterrupt])
def test_a_run_that_fails_leaves_no_file(tmp_path, name, reason):
    def fail():
        with ExitStack() as files:
            (writer,) = open_mask_writers([name], tmp_path, CLIP, files)
            writer.write(noise(), 0, 1)
            raise reason

    with pytest.raises(reason):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", PLACES)
def test_a_place_that_cannot_be(tmp_path, name):
    (tmp_path / "file").touch()
    with ExitStack() as files, pytest.raises((CannotCreateError, OutputError)):
        open_mask_writers([name], tmp_path / "file", CLIP, files)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["coco", "mots", "npz", "ytvis"])
def test_a_full_disk_is_an_output_error(tmp_path, name):
    # What is being written has another name until it is whole.
    (tmp_path / f"{PLACES[name]}.part").symlink_to("/dev/full")

    def fill():
        with ExitStack() as files:
            (writer,) = open_mask_writers([name], tmp_path, CLIP, files)
            for pts in range(4):
                writer.write(noise(), pts, 1)

    with pytest.raises(OutputError, match="disk is full"):
        fill()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["objects", "alpha"])
def test_a_full_disk_among_pictures(tmp_path, name):
    labels = np.zeros(SIZE, np.uint8)
    labels[5:30, 7:60] = 9
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    with ExitStack() as files:
        (writer,) = open_mask_writers([name], tmp_path, CLIP, files)
        writer.write(labels, 0, 1, picture)
        (tmp_path / name / "9" / "00001.png").symlink_to("/dev/full")
        with pytest.raises(OutputError, match="disk is full"):
            writer.write(labels, 1, 1, picture)
