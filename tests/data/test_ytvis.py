"""YouTube-VIS from folders that Pillow and pycocotools wrote."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from torch.nn import functional

from slotcli.data.dataset import Dataset
from slotcli.data.formats.ytvis import YoutubeVis
from slotcli.data.recognise import recognise
from slotcli.errors import DataError, NoInputError
from slotcli.spec import SplitName

SIZE = (36, 64)
LENGTHS = [4, 3, 2, 3, 2]  # of the training videos; every fifth frame is annotated


def box(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def compressed(mask: np.ndarray) -> dict[str, Any]:
    rle = coco.encode(np.asfortranarray(mask))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def plain(mask: np.ndarray) -> dict[str, Any]:
    """Counts of a mask that begins with background and ends with it."""
    changes = np.flatnonzero(np.diff(mask.T.ravel().astype(int))) + 1
    return {"size": list(SIZE), "counts": np.diff([0, *changes, mask.size]).tolist()}


def videos(folder: Path, lengths: list[int], letter: str) -> list[dict[str, Any]]:
    records = []
    for number, length in enumerate(lengths, 1):
        name = f"{letter}{number:09x}"
        (folder / "JPEGImages" / name).mkdir(parents=True)
        files = [f"{name}/{5 * frame:05d}.jpg" for frame in range(length)]
        rng = np.random.default_rng(number)
        for file in files:
            coarse = Image.fromarray(rng.integers(0, 256, (6, 10, 3), np.uint8))
            picture = coarse.resize(SIZE[::-1], Image.Resampling.BICUBIC)
            picture.save(folder / "JPEGImages" / file)
        height, width = SIZE
        records.append(
            {
                "id": number,
                "file_names": files,
                "height": height,
                "width": width,
                "length": length,
            }
        )
    return records


def annotation(number: int, video: int, segmentations: list[Any], crowd: int = 0) -> dict[str, Any]:
    return {
        "id": number,
        "video_id": video,
        "category_id": 7,
        "segmentations": segmentations,
        "iscrowd": crowd,
    }


POLYGON = [[8, 6, 20, 6, 20, 16, 8, 16]]

# What each video shows, by frame; the order in the file is not that of the ids.
ANNOTATIONS = [
    annotation(903, 1, [plain(box(20, 4, 10, 20)), None, None, compressed(box(1, 1, 4, 4))]),
    annotation(
        17, 1, [compressed(box(2, 2, 12, 30)), compressed(box(3, 3, 12, 30)), None, POLYGON]
    ),
    annotation(44, 2, [compressed(box(5, 5, 5, 5)), None, compressed(box(6, 6, 5, 5))]),
    annotation(50, 4, [None, plain(box(9, 9, 3, 3)), None]),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five videos of the official training set and two of its validation, as of 2021."""
    write_index(tmp_path, videos(tmp_path / "train", LENGTHS, "a"), ANNOTATIONS)
    valid = {"videos": videos(tmp_path / "valid", [2, 3], "b"), "annotations": None}
    (tmp_path / "valid" / "instances.json").write_text(json.dumps(valid))
    return tmp_path


def write_index(root: Path, records: list[dict[str, Any]], annotations: list[Any]) -> None:
    index = {"info": {}, "videos": records, "annotations": annotations, "categories": []}
    (root / "train" / "instances.json").write_text(json.dumps(index))


def read_index(root: Path) -> dict[str, Any]:
    return json.loads((root / "train" / "instances.json").read_text())


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ["a000000001", "a000000002", "a000000003"]),
        ("validation", ["a000000004", "a000000005"]),
        ("test", ["b000000001", "b000000002"]),
    ],
)
def test_the_last_training_videos_are_for_validation(
    root: Path, split: SplitName, names: list[str]
) -> None:
    data = YoutubeVis(root, split, None)
    assert isinstance(data, Dataset)
    assert [data.name(index) for index in range(len(data))] == names
    assert data.labelled == (split != "test")
    clip = data.clip(0, 0, data.frames(0))
    assert len(clip.frames) == data.frames(0)
    assert (clip.labels is None) == (split == "test")


def test_three_hundred_videos_are_held_out_of_many(tmp_path: Path) -> None:
    records = videos(tmp_path / "train", [1] * 700, "a")
    write_index(tmp_path, records, [annotation(1, 1, [None])])
    assert len(YoutubeVis(tmp_path, "train", None)) == 400
    validation = YoutubeVis(tmp_path, "validation", None)
    assert (len(validation), validation.name(0)) == (300, f"a{401:09x}")


def test_clips_are_the_files_and_the_masks(root: Path) -> None:
    clip = YoutubeVis(root, "train", None).clip(0, 0, 4)
    assert clip.labels is not None
    expected = np.zeros((4, *SIZE), np.uint8)
    expected[0][box(2, 2, 12, 30) > 0] = expected[1][box(3, 3, 12, 30) > 0] = 1
    expected[0][box(20, 4, 10, 20) > 0] = expected[3][box(1, 1, 4, 4) > 0] = 2
    expected[3][6:16, 8:20] = 1
    np.testing.assert_array_equal(clip.labels, expected)
    for frame in range(4):
        file = root / "train" / "JPEGImages" / "a000000001" / f"{5 * frame:05d}.jpg"
        with Image.open(file) as image:
            np.testing.assert_array_equal(clip.frames[frame].permute(1, 2, 0), np.array(image))
    strided = YoutubeVis(root, "train", None).clip(0, 1, 2, stride=2)
    assert torch.equal(strided.frames, clip.frames[1::2])
    assert strided.labels is not None
    assert torch.equal(strided.labels, clip.labels[1::2])


def test_sizes_are_area_averages_and_nearest_ids(root: Path) -> None:
    clip = YoutubeVis(root, "train", None).clip(1, 0, 3)
    squeezed = YoutubeVis(root, "train", (18, 32)).clip(1, 0, 3)
    assert clip.labels is not None
    assert squeezed.labels is not None
    means = functional.avg_pool2d(clip.frames.double(), 2)
    assert ((squeezed.frames - means).abs() <= 0.75).all()
    assert torch.equal(squeezed.labels, clip.labels[:, ::2, ::2])


def test_smaller_instances_lie_on_top_and_crowds_below(root: Path) -> None:
    shown = [box(0, 0, 30, 40), box(10, 10, 5, 5), box(8, 8, 10, 10), box(26, 36, 8, 8)]
    equal = [box(2, 2, 6, 6), box(4, 4, 6, 6)]
    annotations = [
        annotation(number, 1, [compressed(mask), None, None, None], crowd)
        for number, mask, crowd in zip((5, 6, 7, 8), shown, (0, 0, 0, 1), strict=True)
    ] + [
        annotation(number, 1, [None, compressed(mask), None, None])
        for number, mask in zip((9, 10), equal, strict=True)
    ]
    write_index(root, read_index(root)["videos"], annotations)
    labels = YoutubeVis(root, "train", None).clip(0, 0, 2).labels
    assert labels is not None
    expected = np.zeros((2, *SIZE), np.uint8)
    for mask, label in ((shown[3], 255), (shown[0], 1), (shown[2], 3), (shown[1], 2)):
        expected[0][mask > 0] = label
    for mask, label in ((equal[0], 4), (equal[1], 5)):
        expected[1][mask > 0] = label
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("place", ["train/train.json", "train.json"])
def test_the_index_of_2019_is_found(root: Path, place: str) -> None:
    (root / "train" / "instances.json").rename(root / place)
    assert len(YoutubeVis(root, "train", None)) == 3


@pytest.mark.parametrize(
    "lost", ["train/instances.json", "train/JPEGImages/a000000002/00005.jpg", "train"]
)
def test_missing_files_are_named_at_opening(root: Path, lost: str) -> None:
    (root / lost).rename(root / "elsewhere")
    with pytest.raises(NoInputError, match=lost):
        YoutubeVis(root, "train", None)


def test_broken_indices_are_named(root: Path) -> None:
    records = read_index(root)["videos"]
    many = [annotation(number, 1, [None] * 4) for number in range(255)]
    outside = [record | {"file_names": ["/etc/passwd"]} for record in records]
    above = [record | {"file_names": ["../a/00000.jpg"]} for record in records]
    up = [record | {"file_names": ["../00000.jpg"]} for record in records]
    for broken_records, annotations, words in (
        (records, [annotation(1, 1, [None] * 3)], "annotation 1 has 3 masks for 4 frames"),
        (records, [annotation(1, 99, [None])], "annotation 1 is of no video"),
        (records, many, "255 instances, and 254"),
        (records, [{"id": 1, "video_id": 1}], "segmentations"),
        (records + records, [], "two videos have one id"),
        ([*records, records[0] | {"id": 9}], [], "two videos share a folder"),
        (outside, [], "outside of a folder of its own"),
        (above, [], "outside of a folder of its own"),
        (up, [], "outside of a folder of its own"),
        ([record | {"width": float("inf")} for record in records], [], "infinity"),
        ([{"id": 1}], [], "file_names"),
    ):
        write_index(root, broken_records, annotations)
        with pytest.raises(DataError, match=rf"instances\.json is no index .*{words}"):
            YoutubeVis(root, "train", None)
    for text in ("", "{", "[]", "[" * 100_000, '{"videos": 5}'):
        (root / "train" / "instances.json").write_text(text)
        with pytest.raises(DataError, match=r"instances\.json is no index of YouTube-VIS"):
            YoutubeVis(root, "train", None)
    write_index(root, records[:1], [])
    with pytest.raises(NoInputError, match="no videos for validation"):
        YoutubeVis(root, "validation", None)


def test_broken_masks_and_frames_are_named_at_access(root: Path) -> None:
    good = compressed(box(1, 1, 4, 4))
    segmentations = [good | {"counts": good["counts"][:-1]}, good | {"size": [64, 36]}, 5, {}]
    write_index(root, read_index(root)["videos"], [annotation(31, 1, segmentations)])
    data = YoutubeVis(root, "train", (16, 16))
    for frame in range(4):
        words = rf"instances\.json: annotation 31, frame {frame} of a000000001: "
        with pytest.raises(DataError, match=words):
            data.clip(0, frame, 1)
    folder = root / "train" / "JPEGImages"
    Image.new("RGB", (60, 36)).save(folder / "a000000002" / "00000.jpg")
    with pytest.raises(DataError, match=r"a000000002/00000\.jpg is not 64x36, as instances\.json"):
        data.clip(1, 0, 1)
    (folder / "a000000003" / "00000.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"a000000003/00000\.jpg could not be read"):
        data.clip(2, 0, 1)


def test_the_official_test_set_alone_is_for_testing(root: Path) -> None:
    (root / "valid").rename(root / "test")
    assert recognise(root) == "ytvis"
    assert YoutubeVis(root, "test", None).name(0) == "b000000001"
    (root / "train").rename(root / "away")
    assert recognise(root) == "ytvis"
