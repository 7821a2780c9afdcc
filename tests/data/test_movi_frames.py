"""MOVi as folders of frames, written by Pillow."""

import json
from pathlib import Path

import numpy as np
import pytest
from movi_files import made_up, write_frames
from PIL import Image

from slotcli.data.conversion import MANIFEST
from slotcli.data.formats.movi import Movi, find_movi
from slotcli.data.formats.splits import NoSplitError
from slotcli.errors import DataError, NoInputError


def write_objects(folder: Path, seed: int, layers: np.ndarray) -> np.ndarray:
    """A clip as MOVi-Solid has it: 00000000_image.png and one binary mask an object."""
    folder.mkdir(parents=True)
    video, _ = made_up(seed, frames=len(layers), size=layers.shape[2:])
    for time, masks in enumerate(layers):
        Image.fromarray(video[time]).save(folder / f"{time:08d}_image.png")
        for number, mask in enumerate(masks):
            Image.fromarray(mask * np.uint8(255)).save(folder / f"{time:08d}_mask_{number:02d}.png")
    return video


def test_png_frames_are_read_value_for_value(tmp_path):
    for number in (3, 1):
        write_frames(tmp_path / "train" / f"{number:08d}", made_up(number))
    movi = Movi(tmp_path, "train", None)
    assert [movi.name(index) for index in range(2)] == ["00000001", "00000003"]
    assert (movi.labelled, movi.video_name(0)) == (True, None)
    video, labels = made_up(3)
    clip = movi.clip(1, 0, movi.frames(1))
    assert clip.labels is not None
    assert (clip.frames.permute(0, 2, 3, 1).numpy() == video).all()
    assert (clip.labels.numpy() == labels).all()


def test_the_authors_jpeg_frames_are_what_pillow_decodes(tmp_path):
    clip_folder = write_frames(tmp_path / "test" / "00000000", made_up(0), suffix=".jpg")
    movi = Movi(tmp_path, "test", None)
    with Image.open(clip_folder / "000002.jpg") as image:
        decoded = np.asarray(image)
    assert (movi.clip(0, 2, 1).frames[0].permute(1, 2, 0).numpy() == decoded).all()
    with pytest.raises(NoSplitError):
        Movi(tmp_path, "train", None)


def test_binary_masks_become_ids_with_the_background_0(tmp_path):
    layers = np.zeros((2, 3, 6, 8), np.uint8)
    layers[:, 0, :2], layers[0, 1, 2:4], layers[1, 2, 1:] = 1, 1, 1
    video = write_objects(tmp_path / "val" / "00000000", 0, layers)
    clip = Movi(tmp_path, "validation", None).clip(0, 0, 2)
    assert clip.labels is not None
    assert (clip.frames.permute(0, 2, 3, 1).numpy() == video).all()
    # Where two overlap (row 1 of frame 1), the first counts, as of an argmax over the masks.
    expected = np.concatenate([np.full((2, 1, 6, 8), 0.5), layers], axis=1).argmax(axis=1)
    assert (clip.labels.numpy() == expected).all()


def test_a_folder_without_splits_is_divided_as_steve_does(tmp_path):
    for number in range(20):
        write_objects(tmp_path / f"{number:08d}", number, np.zeros((1, 0, 4, 4), np.uint8))
    sizes = {s: len(Movi(tmp_path, s, None)) for s in ("train", "validation", "test")}
    assert sizes == {"train": 14, "validation": 3, "test": 3}
    assert Movi(tmp_path, "test", None).name(0) == "00000017"
    assert not Movi(tmp_path, "test", None).labelled


def test_numbered_pictures_alone_are_not_taken_for_movi(tmp_path):
    write_frames(tmp_path / "my clip", made_up(0), masks=False)
    assert find_movi(tmp_path) is None


@pytest.mark.parametrize(
    ("remove", "named"),
    [
        ("000001.png", r"000001\.png is missing"),
        ("000000.png", r"000000\.png is missing"),
        ("000003.png", r"000003\.png is missing"),
        ("000002_mask.png", r"000002_mask\.png is missing"),
        ("000003_mask.png", r"000003_mask\.png is missing"),
    ],
)
def test_a_missing_file_is_named(tmp_path, remove, named):
    for number in range(2):
        write_frames(tmp_path / "train" / f"{number:08d}", made_up(number))
    (tmp_path / "train" / "00000001" / remove).unlink()
    movi = Movi(tmp_path, "train", None)
    with pytest.raises(NoInputError, match=rf"00000001/{named}"):
        movi.clip(1, 0, 1)
    with pytest.raises(NoInputError, match=rf"00000001/{named}"):
        movi.frames(1)
    assert movi.clip(0, 0, 4).labels is not None


def test_a_missing_binary_mask_is_named(tmp_path):
    write_objects(tmp_path / "train" / "00000000", 0, np.zeros((3, 4, 4, 4), np.uint8))
    (tmp_path / "train" / "00000000" / "00000001_mask_02.png").unlink()
    with pytest.raises(NoInputError, match=r"00000001_mask_02\.png is missing"):
        Movi(tmp_path, "train", None).frames(0)


def test_clips_with_and_without_masks_do_not_mix(tmp_path):
    write_frames(tmp_path / "train" / "00000000", made_up(0), masks=False)
    write_frames(tmp_path / "train" / "00000001", made_up(1))
    with pytest.raises(DataError, match=r"00000001 has masks, but .*00000000 has none"):
        Movi(tmp_path, "train", None).frames(1)


def test_broken_and_foreign_files_are_named(tmp_path):
    folder = write_frames(tmp_path / "train" / "00000000", made_up(0))
    movi = Movi(tmp_path, "train", None)
    for name, message in [("000001.png", "could not be read"), ("000001_mask.png", "could not")]:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-40])
        with pytest.raises(DataError, match=rf"{name} {message}"):
            movi.clip(0, 0, 4)
        (folder / name).write_bytes(whole)
    Image.new("L", (3, 3)).save(folder / "000002_mask.png")
    with pytest.raises(DataError, match=r"000002\.png: a mask of \[3, 3\] pixels"):
        movi.clip(0, 0, 4)
    Image.fromarray(np.full((10, 14), 300, np.uint16)).save(folder / "000002_mask.png")
    with pytest.raises(DataError, match=r"000002_mask\.png"):
        movi.clip(0, 0, 4)
    Image.new("RGB", (14, 10)).save(folder / "000000.jpg")
    with pytest.raises(DataError, match=r"000000\.png and 000000\.jpg|both"):
        movi.frames(0)


def test_255_in_a_mask_stays_255(tmp_path):
    video, labels = made_up(0)
    labels[1, 2, 3] = 255
    write_frames(tmp_path / "train" / "00000000", (video, labels))
    clip = Movi(tmp_path, "train", None).clip(0, 0, 4)
    assert clip.labels is not None
    assert clip.labels[1, 2, 3] == 255


def test_a_record_of_a_conversion_says_what_has_to_be_there(tmp_path):
    place = tmp_path / "train"
    for number in (0, 2):
        write_frames(place / f"{number:08d}", made_up(number))
    clips = [
        {"name": "bear", "frames": 4},
        {"name": "camel", "broken": "it cannot be read"},
        {"name": "dog", "frames": 4, "video_name": "77"},
    ]
    record = {"schema": "slotcli.conversion/1", "kind": "davis", "source": "x", "split": "train"}

    def note(**changed: object) -> None:
        (place / MANIFEST).write_text(
            json.dumps(record | {"version": "0", "clips": clips} | changed)
        )

    note()
    movi = Movi(tmp_path, "train", None)
    assert [(movi.name(i), movi.video_name(i)) for i in range(2)] == [("bear", None), ("dog", "77")]
    assert "1 clips were broken" in movi.remarks[0]
    assert (movi.clip(1, 0, 4).frames.permute(0, 2, 3, 1).numpy() == made_up(2)[0]).all()
    for name in ("000003.png", "000003_mask.png"):  # the last frame, which nothing else would miss
        (place / "00000002" / name).unlink()
    with pytest.raises(NoInputError, match=r"00000002/000003\.png is missing"):
        Movi(tmp_path, "train", None).frames(1)
    note(clips=[*clips, {"name": "elk"}])
    with pytest.raises(DataError, match="00000003 is missing"):
        Movi(tmp_path, "train", None)
    note(schema="slotcli.conversion/2")
    with pytest.raises(DataError, match="is no record of a conversion"):
        Movi(tmp_path, "train", None)
