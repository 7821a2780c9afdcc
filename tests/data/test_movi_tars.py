"""MOVi in tar files of arrays, written by tarfile and numpy."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from movi_files import add_array, made_up, write_tar

from slotcli.data.formats.movi import Movi
from slotcli.data.formats.splits import NoSplitError
from slotcli.errors import DataError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two training files of two samples and of one, a validation file without labels."""
    write_tar(
        tmp_path / "movi_c-train-000000.tar", {"000007": made_up(0), "000003": made_up(1, frames=3)}
    )
    write_tar(tmp_path / "movi_c-train-000001.tar", {"000007": made_up(2)})
    write_tar(tmp_path / "validation" / "000000.tar", {"a/9": made_up(3)}, labels=False)
    return tmp_path


def test_every_value_that_numpy_wrote_is_read_in_the_files_order(folder):
    movi = Movi(folder, "train", None)
    assert [movi.name(index) for index in range(len(movi))] == [
        "movi_c-train-000000/000007",
        "movi_c-train-000000/000003",
        "movi_c-train-000001/000007",
    ]
    for index in range(len(movi)):
        video, labels = made_up(index, frames=3 if index == 1 else 4)
        assert movi.frames(index) == len(video)
        clip = movi.clip(index, 0, len(video))
        assert clip.labels is not None
        assert (clip.frames.permute(0, 2, 3, 1).numpy() == video).all()
        assert (clip.labels.numpy() == labels).all()
        window = movi.clip(index, 1, 1)
        assert (window.frames[0].permute(1, 2, 0).numpy() == video[1]).all()


def test_files_may_stand_in_folders_of_the_splits_and_lack_labels(folder):
    movi = Movi(folder, "validation", None)
    assert (len(movi), movi.labelled, movi.name(0)) == (1, False, "000000/a/9")
    assert movi.clip(0, 2, 2).labels is None
    with pytest.raises(NoSplitError):
        Movi(folder, "test", None)


def test_a_missing_file_is_named(folder):
    shutil.copy(folder / "movi_c-train-000001.tar", folder / "movi_c-train-000003.tar")
    with pytest.raises(DataError, match=r"movi_c-train-000002\.tar is missing"):
        Movi(folder, "train", None)
    (folder / "movi_c-train-000003.tar").rename(folder / "movi_d-train-000001.tar")
    with pytest.raises(UsageError, match="have one number"):
        Movi(folder, "train", None)


# Within the first head, within the video, before and after the labels, within the last member.
@pytest.mark.parametrize("keep", [100, 700, 2560, 4096, 5000])
def test_a_file_that_is_cut_off_is_named(folder, keep):
    path = folder / "movi_c-train-000001.tar"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"movi_c-train-000001\.tar"):
        Movi(folder, "train", None).clip(2, 0, 4)


def test_a_sample_without_its_labels_is_named(folder):
    with tarfile.open(folder / "movi_c-train-000001.tar", "a") as tar:
        add_array(tar, "000008.video.npy", made_up(5)[0])
    with pytest.raises(DataError, match=r"000001\.tar: 000008\.segmentations\.npy is missing"):
        Movi(folder, "train", None)


@pytest.mark.parametrize(
    ("video", "labels", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), None, "float32 .* is no video"),
        (np.zeros((2, 4, 4), np.uint8), None, "is no video"),
        (np.zeros((0, 4, 4, 3), np.uint8), None, "is no video"),
        (np.array([{}], object), None, "is no array"),
        (np.asfortranarray(np.zeros((2, 4, 4, 3), np.uint8)), None, "not stored row by row"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 6), np.uint8), "does not label"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4), np.float32), "does not label"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4), 300, np.int32), "leave 0 to 254"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4), -1, np.int64), "leave 0 to 254"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4), 255, np.uint8), "leave 0 to 254"),
    ],
)
def test_arrays_of_something_else_are_refused_by_name(tmp_path, video, labels, message):
    with tarfile.open(tmp_path / "movi_a-test-000000.tar", "w") as tar:
        add_array(tar, "0.video.npy", video)
        if labels is not None:
            add_array(tar, "0.segmentations.npy", labels)
    with pytest.raises(DataError, match=rf"movi_a-test-000000\.tar, 0\..*{message}"):
        list(Movi(tmp_path, "test", None).stream(0))


def test_wide_integers_are_labels_as_well(tmp_path):
    video, labels = made_up(0)
    with tarfile.open(tmp_path / "movi_a-test-000000.tar", "w") as tar:
        add_array(tar, "0.video.npy", video)
        add_array(tar, "0.segmentations.npy", labels.astype(np.int64)[..., None])
    clip = Movi(tmp_path, "test", None).clip(0, 0, 4)
    assert clip.labels is not None
    assert (clip.labels.numpy() == labels).all()
