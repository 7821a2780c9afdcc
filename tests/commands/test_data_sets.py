"""slotcli data index, check and convert on files that other programs wrote."""

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from movi_files import (
    TFDS,
    add_array,
    copied_tfds,
    made_up,
    tfds_truth,
    write_frames,
    write_tar,
)
from PIL import Image

from slotcli.data import convert as convert_module
from slotcli.data.conversion import MANIFEST
from slotcli.data.datasets import open_public
from slotcli.data.formats.file_index import INDEX
from slotcli.data.formats.movi import Movi
from slotcli.data.formats.movi.tfrecord import find_records
from slotcli.scenes.folder import read_index

TRAIN0 = "movi_e-train.tfrecord-00000-of-00002"
TRAIN1 = "movi_e-train.tfrecord-00001-of-00002"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copied_tfds(tmp_path / "movi")


def records(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def flip_bit(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def tree(folder: Path) -> dict[str, int]:
    """Every file with its inode, which a file that was written again does not keep."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.stat().st_ino for path in files}


def test_index_says_what_is_there_and_notes_it(cli, folder):
    code, out, err = cli("--json", "data", "index", folder)
    assert code == 0, err
    train, test = records(out)
    assert (train["split"], train["clips"], train["frames"]) == ("train", 3, 18)
    assert (test["split"], test["clips"], test["frames"]) == ("test", 2, 12)
    assert (train["kind"], train["layout"]) == ("movi", "records")
    assert (train["size"], train["labelled"], train["broken"]) == ([12, 12], True, {})
    files = json.loads((folder / INDEX).read_text())["files"]
    assert len(files) == 4
    found = [[record.start, record.length] for record in find_records(folder / TRAIN0)]
    assert [part[1:] for part in files[TRAIN0]["parts"]] == found
    code, out, _ = cli("data", "index", folder, "--split", "test")
    assert (code, "12 x 12" in out, "train" in out) == (0, True, False)


def test_a_stale_index_is_said_and_made_again(cli, folder):
    assert cli("data", "index", folder)[0] == 0
    os.utime(folder / TRAIN0, ns=(1, 1))
    code, _, err = cli("data", "index", folder)
    assert (code, f"{TRAIN0} for one: they were searched again" in err) == (0, True)
    assert "searched again" not in cli("data", "index", folder)[2]


def test_where_nothing_may_be_written_index_fails_and_the_rest_works(cli, folder, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Tests may run as root, whom no mode of a folder stops.
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        code, _, err = cli("data", "index", folder)
    assert (code, f"{INDEX} may not be written" in err) == (77, True)
    assert [path.name for path in folder.iterdir() if INDEX in path.name] == []
    assert cli("data", "check", folder)[0] == 0


def test_check_passes_what_is_sound_and_lists_what_is_not(cli, folder):
    code, out, _ = cli("data", "check", folder)
    assert (code, "all 5 clips are sound" in out) == (0, True)
    flip_bit(folder / TRAIN0, find_records(folder / TRAIN0)[1].start + 9000)
    path = folder / "movi_e-test.tfrecord-00001-of-00002"
    path.write_bytes(path.read_bytes()[:-1])
    code, out, err = cli("--json", "data", "check", folder)
    assert code == 65
    first, second, total = records(out)
    assert (first["split"], first["clip"]) == ("train", "00000-001")
    assert f"{TRAIN0}, record 1: its checksum is wrong" in first["broken"]
    assert "test.tfrecord-00001-of-00002, record 0: the file ends" in second["broken"]
    assert (total["clips"], total["broken"]) == (5, 2)
    assert TRAIN0 in err
    assert cli("data", "check", folder, "--split", "validation")[0] == 66


def test_check_counts_a_split_that_cannot_be_opened_as_broken(cli, folder):
    (folder / TRAIN1).unlink()
    code, _, err = cli("data", "check", folder)
    assert (code, f"{TRAIN1} is missing" in err) == (65, True)


def test_converted_records_are_read_again_with_equal_values(cli, folder, tmp_path):
    code, out, err = cli("data", "convert", folder, "out")
    assert code == 0, err
    assert "3 clips written" in out
    assert not list((tmp_path / "out").rglob(".*"))
    for split in ("train", "test"):
        converted = Movi(tmp_path / "out", split, None)
        for index, (video_name, (video, labels)) in enumerate(tfds_truth(split)):
            clip = converted.clip(index, 0, converted.frames(index))
            assert clip.labels is not None
            assert (clip.frames.permute(0, 2, 3, 1).numpy() == video).all()
            assert (clip.labels.numpy() == labels).all()
            assert converted.name(index) == Movi(TFDS, split, None).name(index)
            assert converted.video_name(index) == video_name
    # Another program reads the same.
    clip_folder = tmp_path / "out" / "train" / "00000002"
    video, labels = tfds_truth("train")[2][1]
    with Image.open(clip_folder / "000005.png") as picture:
        assert (np.asarray(picture) == video[5]).all()
    with Image.open(clip_folder / "000005_mask.png") as mask:
        assert mask.mode == "P"
        assert (np.asarray(mask) == labels[5]).all()
    note = json.loads((tmp_path / "out" / "train" / MANIFEST).read_text())
    assert (note["kind"], note["source"], note["split"]) == ("movi", str(folder), "train")
    assert [clip["frames"] for clip in note["clips"]] == [6, 6, 6]
    assert [clip["video_name"] for clip in note["clips"]] == ["5678", "17", "42"]


def test_a_killed_conversion_goes_on_where_it_ended(cli, folder, tmp_path, monkeypatch):
    really, written = convert_module._write_frames, []

    def killed(clip, place, first):
        really(clip, place, first)
        written.append(place)
        if len(written) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(convert_module, "_write_frames", killed)
        assert cli("data", "convert", folder, "out", "--split", "train")[0] == 130
    place = tmp_path / "out" / "train"
    # What a killed process leaves: a half-made folder, and a record that knows of no clip.
    (place / ".slotcli-0123456789ab-1.part").mkdir()
    before = tree(place / "00000000")
    assert not (place / "00000001").exists()
    code, _, err = cli("data", "check", "out")
    assert (code, "00000001 is missing" in err) == (65, True)
    code, out, _ = cli("data", "convert", folder, "out", "--split", "train")
    assert (code, "2 clips written, 1 existed" in out) == (0, True)
    assert tree(place / "00000000") == before
    assert {path.name for path in place.iterdir()} == {
        "00000000",
        "00000001",
        "00000002",
        MANIFEST,
    }
    assert cli("data", "check", "out")[0] == 0


def test_a_broken_clip_ends_it_by_name_unless_it_is_to_keep_going(cli, folder, tmp_path):
    record = find_records(folder / TRAIN0)[1]
    flip_bit(folder / TRAIN0, record.start + 9000)
    code, _, err = cli("data", "convert", folder, "out")
    assert (code, f"{TRAIN0}, record 1: its checksum is wrong" in err) == (65, True)
    assert not (tmp_path / "out" / "train" / "00000001").exists()
    code, out, err = cli("--json", "data", "convert", folder, "out", "--keep-going")
    assert (code, "1 clips are broken and were left out" in err) == (3, True)
    train, test = records(out)
    assert (train["written"], train["there"], list(train["broken"])) == (1, 1, ["00000-001"])
    assert test["written"] == 2
    converted = Movi(tmp_path / "out", "train", None)
    assert [converted.name(index) for index in range(2)] == ["00000-000", "00001-000"]
    flip_bit(folder / TRAIN0, record.start + 9000)
    code, out, _ = cli("data", "convert", folder, "out")
    assert (code, "1 clips written, 2 existed" in out) == (0, True)
    assert len(Movi(tmp_path / "out", "train", None)) == 3


def test_a_folder_of_something_else_is_not_written_into(cli, folder, tmp_path):
    (tmp_path / "out" / "train").mkdir(parents=True)
    (tmp_path / "out" / "train" / "thesis.tex").write_text("...")
    code, _, err = cli("data", "convert", folder, "out")
    assert (code, "did not write" in err) == (73, True)
    write_tar(tmp_path / "tars" / "movi_c-test-000000.tar", {"9": made_up(0)})
    assert cli("data", "convert", "tars", "other")[0] == 0
    code, _, err = cli("data", "convert", folder, "other", "--split", "test")
    assert (code, "holds other clips" in err) == (73, True)


def test_tars_videos_and_rendered_scenes_convert_too(cli, tmp_path):
    write_tar(tmp_path / "tars" / "movi_c-test-000000.tar", {"9": made_up(0), "8": made_up(1)})
    write_frames(tmp_path / "images" / "a b", made_up(2), masks=False)
    made = ("--tier", "A", "--clips", 1, "--frames", 2, "--size", "16", "--device", "cpu")
    assert cli("data", "synth", "scenes", *made)[0] == 0
    for source in ("tars", "images", "scenes"):
        code, _, err = cli("data", "convert", source, f"{source}-out")
        assert code == 0, err
    tars = Movi(tmp_path / "tars-out", "test", None)
    for index in range(2):
        video, labels = made_up(index)
        clip = tars.clip(index, 0, 4)
        assert clip.labels is not None
        assert (clip.frames.permute(0, 2, 3, 1).numpy() == video).all()
        assert (clip.labels.numpy() == labels).all()
    images = Movi(tmp_path / "images-out", "train", None)
    assert (images.name(0), images.labelled) == ("a b", False)
    assert (images.clip(0, 0, 4).frames.permute(0, 2, 3, 1).numpy() == made_up(2)[0]).all()
    scenes = Movi(tmp_path / "scenes-out", "train", None)
    assert scenes.name(0) in read_index(tmp_path / "scenes")
    assert scenes.clip(0, 0, 2).labels is not None


def test_void_pixels_of_davis_survive_conversion(cli, tmp_path):
    labels = np.zeros((6, 8), np.uint8)
    labels[0], labels[2:4] = 255, 7
    for part, picture, name in [
        ("JPEGImages", np.full((6, 8, 3), 90, np.uint8), "00000.jpg"),
        ("Annotations", labels, "00000.png"),
    ]:
        folder = tmp_path / "DAVIS" / part / "480p" / "bear"
        folder.mkdir(parents=True)
        Image.fromarray(picture).save(folder / name)
    lists = tmp_path / "DAVIS" / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("bear\n")
    code, _, err = cli("data", "convert", "DAVIS", "out", "--split", "validation")
    assert code == 0, err
    converted = Movi(tmp_path / "out", "validation", None)
    source = open_public("davis", tmp_path / "DAVIS", "validation", None)
    clip, original = converted.clip(0, 0, 1), source.clip(0, 0, 1)
    assert clip.labels is not None
    assert (clip.labels[0].numpy() == labels).all()
    assert torch.equal(clip.frames, original.frames)
    assert converted.name(0) == "bear"


@pytest.mark.parametrize("command", ["index", "check"])
def test_a_folder_of_nothing_known_says_what_was_looked_for(cli, tmp_path, command):
    (tmp_path / "empty").mkdir()
    code, _, err = cli("data", command, "empty")
    assert (code, "tfrecord" in err) == (66, True)
    assert cli("data", command, "absent")[0] == 66
    assert cli("data", command, "empty", "--kind", "mnist")[0] == 2


def test_check_lists_videos_that_cannot_be_decoded(cli, tmp_path):
    write_frames(tmp_path / "images" / "a", made_up(0), masks=False)
    (tmp_path / "images" / "b.mp4").write_bytes(b"no video")
    code, _, err = cli("data", "check", "images")
    assert (code, "b.mp4" in err) == (65, True)
    code, _, err = cli("data", "convert", "images", "out")
    assert (code, "b.mp4" in err) == (65, True)
    assert cli("data", "convert", "images", "out", "--keep-going")[0] == 3
    assert (tmp_path / "out" / "train" / "00000000" / "000003.png").is_file()


def test_arrays_of_objects_are_not_unpickled(cli, tmp_path):
    with tarfile.open(tmp_path / "movi_a-test-000000.tar", "w") as tar:
        add_array(tar, "0.video.npy", np.array([{}], object))
    code, _, err = cli("data", "check", tmp_path)
    assert (code, "is no array" in err) == (65, True)
