"""MOVi's record files: those that TensorFlow Datasets wrote, whole and broken."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from movi_files import FRAMES, TFDS, copied_tfds, png, tfds_truth, write_record

from slotcli.data.formats.movi import Movi
from slotcli.data.formats.movi.tfrecord import find_records, open_example
from slotcli.data.formats.splits import NoSplitError
from slotcli.errors import DataError, NoInputError, UsageError

TRAIN0 = "movi_e-train.tfrecord-00000-of-00002"
TRAIN1 = "movi_e-train.tfrecord-00001-of-00002"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copied_tfds(tmp_path / "movi")


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("described", [True, False])
def test_every_value_that_tfds_wrote_is_read_in_its_order(folder, split, described):
    if not described:
        (folder / "dataset_info.json").unlink()
    movi, truth = Movi(folder, split, None), tfds_truth(split)
    assert len(movi) == len(truth) > 1
    assert len({movi.name(index) for index in range(len(movi))}) == len(movi)
    for index, (video_name, (video, labels)) in enumerate(truth):
        assert movi.frames(index) == FRAMES
        assert movi.video_name(index) == video_name
        clip = movi.clip(index, 0, FRAMES)
        assert clip.labels is not None
        assert (clip.frames.permute(0, 2, 3, 1).numpy() == video).all()
        assert (clip.labels.numpy() == labels).all()
        movi.verify(index)


def test_a_window_is_that_part_of_the_clip_however_often_it_is_asked_for(folder):
    movi, (video, labels) = Movi(folder, "train", None), tfds_truth("train")[1][1]
    for start, length, stride in [(0, 3, 1), (1, 3, 2), (5, 1, 1), (1, 3, 2), (0, 6, 1)]:
        clip = movi.clip(1, start, length, stride)
        times = range(start, start + length * stride, stride)
        assert clip.labels is not None
        assert (clip.frames.permute(0, 2, 3, 1).numpy() == video[list(times)]).all()
        assert (clip.labels.numpy() == labels[list(times)]).all()
    with pytest.raises(DataError, match=r"record 1: its 'segmentations' has only 6 items"):
        movi.clip(1, 4, 3)


def test_at_a_size_frames_are_averaged_and_labels_picked(folder):
    clip = Movi(folder, "train", (6, 6)).clip(0, 0, 2)
    video, labels = tfds_truth("train")[0][1]
    blocks = video[:2].reshape(2, 6, 2, 6, 2, 3).astype(float).mean((2, 4))
    assert clip.labels is not None
    assert np.abs(clip.frames.permute(0, 2, 3, 1).numpy() - blocks).max() <= 0.5
    assert (clip.labels.numpy() == labels[:2, ::2, ::2]).all()


def test_the_version_is_found_below_the_folders_of_tfds(folder, tmp_path):
    version = tmp_path / "tfds" / "movi_e" / "12x12" / "1.0.0"
    version.parent.mkdir(parents=True)
    folder.rename(version)
    movi = Movi(tmp_path / "tfds", "train", None)
    assert (len(movi), movi.location.folder) == (3, version)
    shutil.copytree(version, tmp_path / "tfds" / "movi_e" / "24x24" / "1.0.0")
    with pytest.raises(UsageError, match=r"movi_e/12x12/1\.0\.0, movi_e/24x24/1\.0\.0"):
        Movi(tmp_path / "tfds", "train", None)


def test_a_split_that_is_not_there_is_told_from_one_that_is_broken(folder):
    with pytest.raises(NoSplitError, match="validation"):
        Movi(folder, "validation", None)
    (folder / TRAIN0).unlink()
    with pytest.raises(DataError, match=f"{TRAIN0} is missing"):
        Movi(folder, "train", None)
    with pytest.raises(NoInputError):
        Movi(folder / "absent", "train", None)


@pytest.mark.parametrize("described", [True, False])
def test_a_file_that_is_cut_off_is_named_with_the_record(folder, described):
    if not described:
        (folder / "dataset_info.json").unlink()
    path = folder / TRAIN0
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"{TRAIN0}, record 1: the file ends within it"):
        Movi(folder, "train", None).clip(0, 0, 1)


def test_a_file_that_lacks_a_whole_record_is_named_too(folder):
    path = folder / TRAIN0
    first = find_records(path)[0]
    path.write_bytes(path.read_bytes()[: first.start + first.length + 4])
    with pytest.raises(DataError, match=rf"{TRAIN0} has 1 records, and .* it should have 2"):
        Movi(folder, "train", None).clip(0, 0, 1)


def test_a_wrong_length_is_found_by_its_checksum(folder):
    path = folder / TRAIN0
    second = find_records(path)[1]
    content = bytearray(path.read_bytes())
    content[second.start - 12] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{TRAIN0}, record 1: the checksum of its length"):
        Movi(folder, "train", None).clip(0, 0, 1)


def test_whatever_bit_is_wrong_verify_finds_it_and_decoding_never_gives_wrong_pixels(folder):
    path = folder / TRAIN1
    whole, record = path.read_bytes(), find_records(path)[0]
    truth = Movi(TFDS, "train", None).clip(2, 0, FRAMES)
    random = np.random.default_rng(0)
    refusals = []
    for bit in random.integers(8 * record.start, 8 * (record.start + record.length), 60):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        movi = Movi(folder, "train", None)
        with pytest.raises(DataError, match=rf"{TRAIN1}, record 0: its checksum is wrong"):
            movi.verify(2)
        try:
            clip = movi.clip(2, 0, FRAMES)
        except DataError as error:
            refusals.append(error.what)
        else:
            assert truth.labels is not None
            assert clip.labels is not None
            assert torch.equal(clip.frames, truth.frames)
            assert torch.equal(clip.labels, truth.labels)
    assert 0 < len(refusals) < 60
    assert all(TRAIN1 in refusal for refusal in refusals)


@pytest.mark.parametrize(
    ("video", "labels", "message"),
    [
        ([png(np.zeros((4, 4, 3), np.uint8))], None, "has no feature 'segmentations'"),
        ([], [], "has no frames"),
        ([png(np.zeros((4, 4, 3), np.uint8))], [], "it has 0 masks for 1 frames"),
        ([b"\x89PNG nothing"], [png(np.zeros((4, 4), np.uint8))], "frame 0 could not be read"),
        (
            [png(np.zeros((4, 4, 3), np.uint8))],
            [png(np.full((4, 4), 255, np.uint8))],
            "an object of number 255",
        ),
        (
            [png(np.zeros((4, 4, 3), np.uint8))],
            [png(np.zeros((4, 6), np.uint8))],
            r"a mask of \[4, 6\] pixels does not fit a picture of \[4, 4\]",
        ),
    ],
)
def test_a_record_of_something_else_is_refused_by_name(tmp_path, video, labels, message):
    features = {"video": video} | ({} if labels is None else {"segmentations": labels})
    name = "movi_a-test.tfrecord-00000-of-00001"
    write_record(tmp_path / name, features)
    with pytest.raises(DataError, match=rf"{name}, record 0.*{message}"):
        list(Movi(tmp_path, "test", None).stream(0))


def test_a_record_that_is_no_example_is_refused(tmp_path):
    name = "movi_a-test.tfrecord-00000-of-00001"
    write_record(tmp_path / name, {"video": [b"x" * 400]})
    [record] = find_records(tmp_path / name)
    content = bytearray((tmp_path / name).read_bytes())
    content[record.start + 1] ^= 0x7F  # the length of the whole map
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}, record 0: it is no tf\.train\.Example"):
        Movi(tmp_path, "test", None).frames(0)


def test_long_lists_have_lengths_of_several_bytes(tmp_path):
    """And a record may hold megabytes that nobody asks for."""
    items = [bytes([number % 256]) * (number * 4) for number in range(300)]
    path = write_record(tmp_path / "x", {"flow": [b"z" * 70000], "video": items, "": []})
    [record] = find_records(path)
    with open_example(record) as example:
        assert example.count("video") == 300
        assert [example.item("video", number) for number in (0, 5, 299)] == [
            items[0],
            items[5],
            items[299],
        ]


def test_a_description_of_other_files_is_refused(folder):
    info = folder / "dataset_info.json"
    values = json.loads(info.read_text())
    values["splits"][0]["shardLengths"].append("1")
    info.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"dataset_info\.json.*3 train files, and there are 2"):
        Movi(folder, "train", None)
    info.write_text("{")
    with pytest.raises(DataError, match=r"dataset_info\.json"):
        Movi(folder, "train", None)


def test_files_of_two_data_sets_or_two_versions_do_not_mix(folder):
    shutil.copy(folder / TRAIN0, folder / "movi_d-train.tfrecord-00000-of-00002")
    with pytest.raises(UsageError, match="movi_d, movi_e"):
        Movi(folder, "train", None)
    (folder / "movi_d-train.tfrecord-00000-of-00002").rename(
        folder / "movi_e-train.tfrecord-00000-of-00003"
    )
    with pytest.raises(DataError, match="disagree on how many"):
        Movi(folder, "train", None)


def test_pictures_of_two_sizes_in_one_clip_are_refused(tmp_path):
    pictures = [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)]
    masks = [picture[..., 0] for picture in pictures]
    features = {"video": [*map(png, pictures)], "segmentations": [*map(png, masks)]}
    write_record(tmp_path / "movi_a-test.tfrecord-00000-of-00001", features)
    with pytest.raises(DataError, match="differ in size"):
        Movi(tmp_path, "test", None).clip(0, 0, 2)
    assert Movi(tmp_path, "test", (4, 4)).clip(0, 0, 2).frames.shape == (2, 3, 4, 4)
