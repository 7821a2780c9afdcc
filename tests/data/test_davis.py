"""DAVIS-2017 from a folder that Pillow wrote."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from slotcli.data.dataset import Dataset
from slotcli.data.formats.davis import Davis
from slotcli.data.formats.splits import NoSplitError
from slotcli.data.recognise import recognise
from slotcli.errors import DataError, NoInputError
from slotcli.spec import SplitName
from slotcli.tracks.palette import davis_palette
from slotcli.video.finding import find_clips

SIZE = (48, 86)
LENGTHS = {"bear": 5, "goat": 4, "swan": 3, "walk": 3}


def ids(sequence: str, frame: int) -> np.ndarray:
    """Objects of whole blocks, with a border that is not counted."""
    rng = np.random.default_rng([ord(sequence[0]), frame])
    labels = rng.integers(0, 4, (6, 43), np.uint8).repeat(8, 0).repeat(2, 1)
    labels[:, :3] = 255
    return labels


def write_mask(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.frombytes("P", labels.shape[::-1], labels.tobytes())
    image.putpalette(davis_palette().tobytes())
    image.save(path)


def write_frames(root: Path, sequence: str) -> None:
    folder = root / "JPEGImages" / "480p" / sequence
    folder.mkdir(parents=True)
    rng = np.random.default_rng(ord(sequence[0]))
    for frame in range(LENGTHS[sequence]):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 10, 3), np.uint8))
        coarse.resize(SIZE[::-1], Image.Resampling.BICUBIC).save(folder / f"{frame:05d}.jpg")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two sequences to train on, one for validation, one without masks for testing."""
    root = tmp_path / "DAVIS"
    lists = root / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("goat\nbear\n")
    (lists / "val.txt").write_text("swan\n")
    (lists / "test-dev.txt").write_text("walk")
    for sequence, length in LENGTHS.items():
        write_frames(root, sequence)
        # Of test-dev, the first mask is public.
        for frame in range(1 if sequence == "walk" else length):
            mask = root / "Annotations" / "480p" / sequence / f"{frame:05d}.png"
            write_mask(mask, ids(sequence, frame))
    return root


@pytest.mark.parametrize("inner", ["", "DAVIS"])
@pytest.mark.parametrize(
    ("split", "sequences"),
    [("train", ["goat", "bear"]), ("validation", ["swan"]), ("test", ["walk"])],
)
def test_splits_are_the_lists(
    root: Path, inner: str, split: SplitName, sequences: list[str]
) -> None:
    data = Davis(root.parent / inner, split, None)
    assert isinstance(data, Dataset)
    assert [data.name(index) for index in range(len(data))] == sequences
    assert [data.frames(index) for index in range(len(data))] == [LENGTHS[s] for s in sequences]
    assert data.labelled == (split != "test")


def test_clips_are_the_files(root: Path) -> None:
    clip = Davis(root, "train", None).clip(1, 1, 2, stride=2)
    assert clip.labels is not None
    for place, frame in enumerate((1, 3)):
        with Image.open(root / "JPEGImages" / "480p" / "bear" / f"{frame:05d}.jpg") as image:
            np.testing.assert_array_equal(clip.frames[place].permute(1, 2, 0), np.array(image))
        np.testing.assert_array_equal(clip.labels[place], ids("bear", frame))
    assert set(clip.labels.unique().tolist()) == {0, 1, 2, 3, 255}
    assert Davis(root, "test", None).clip(0, 0, 3).labels is None


def test_sizes_are_area_averages_and_nearest_ids(root: Path) -> None:
    whole, small = Davis(root, "validation", None), Davis(root, "validation", (24, 43))
    clip, squeezed = whole.clip(0, 0, 3), small.clip(0, 0, 3)
    assert clip.labels is not None
    assert squeezed.labels is not None
    means = functional.avg_pool2d(clip.frames.double(), 2)
    assert ((squeezed.frames - means).abs() <= 0.75).all()
    assert torch.equal(squeezed.labels, clip.labels[:, ::2, ::2])


def test_masks_of_the_unsupervised_challenge_come_first(root: Path) -> None:
    for frame in range(LENGTHS["swan"]):
        mask = root / "Annotations_unsupervised" / "480p" / "swan" / f"{frame:05d}.png"
        write_mask(mask, ids("other", frame))
    labels = Davis(root, "validation", None).clip(0, 0, 1).labels
    assert labels is not None
    np.testing.assert_array_equal(labels[0], ids("other", 0))


@pytest.mark.parametrize("resolution", ["Full-Resolution", "1080p"])
def test_other_resolutions_are_davis_too(root: Path, resolution: str) -> None:
    small = Davis(root, "train", (24, 43)).clip(0, 0, 2)
    for name in ("JPEGImages", "Annotations"):
        (root / name / "480p").rename(root / name / resolution)
    assert recognise(root) == recognise(root.parent) == "davis"
    again = Davis(root, "train", (24, 43)).clip(0, 0, 2)
    assert torch.equal(again.frames, small.frames)
    assert again.labels is not None
    assert small.labels is not None
    assert torch.equal(again.labels, small.labels)
    # Whoever asks for its pictures alone gets no masks among them.
    names = [path.name for path in find_clips(root.parent).clips]
    assert sorted(names) == sorted(LENGTHS)


@pytest.mark.parametrize(
    "lost",
    [
        "JPEGImages/480p/bear/00002.jpg",
        "JPEGImages/480p/bear/00004.jpg",
        "Annotations/480p/bear/00000.png",
        "Annotations/480p/goat/00003.png",
        "ImageSets/2017/train.txt",
    ],
)
def test_missing_files_are_named_at_opening(root: Path, lost: str) -> None:
    (root / lost).unlink()
    with pytest.raises(NoInputError, match=lost):
        Davis(root, "train", None)


def test_a_frame_gone_with_its_mask_is_missed(root: Path) -> None:
    (root / "JPEGImages" / "480p" / "bear" / "00002.jpg").unlink()
    (root / "Annotations" / "480p" / "bear" / "00002.png").unlink()
    with pytest.raises(NoInputError, match=r"JPEGImages/480p/bear/00002\.jpg is missing"):
        Davis(root, "train", None)


@pytest.mark.parametrize(
    ("listed", "error", "words"),
    [
        ("absent", NoInputError, "JPEGImages/480p/absent"),
        ("../480p/bear", DataError, "val.txt lists ../480p/bear, which is no name"),
        ("", NoInputError, "val.txt lists no sequences"),
    ],
)
def test_wrong_lists_are_refused(
    root: Path, listed: str, error: type[Exception], words: str
) -> None:
    (root / "ImageSets" / "2017" / "val.txt").write_text(listed)
    with pytest.raises(error, match=words):
        Davis(root, "validation", None)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="holds no DAVIS"):
        Davis(tmp_path, "train", None)


def test_broken_files_are_named_at_access(root: Path) -> None:
    frame = root / "JPEGImages" / "480p" / "goat" / "00001.jpg"
    frame.write_bytes(frame.read_bytes()[:300])
    write_mask(root / "Annotations" / "480p" / "bear" / "00001.png", ids("bear", 1)[:, :80])
    Image.new("RGB", SIZE[::-1]).save(root / "Annotations" / "480p" / "bear" / "00002.png")
    Image.new("RGB", (80, 48)).save(root / "JPEGImages" / "480p" / "walk" / "00002.jpg")
    data = Davis(root, "train", (16, 16))
    data.clip(0, 2, 2)
    with pytest.raises(DataError, match=r"goat/00001\.jpg could not be read"):
        data.clip(0, 0, 2)
    with pytest.raises(DataError, match=r"bear/00001\.png is 80x48, its picture 86x48"):
        data.clip(1, 1, 1)
    with pytest.raises(DataError, match=r"bear/00002\.png .* mode RGB, not a map of ids"):
        data.clip(1, 2, 1)
    with pytest.raises(DataError, match=r"walk/00002\.jpg is 80x48, and .*walk/00000\.jpg is 86x4"):
        Davis(root, "test", None).clip(0, 0, 3)


def test_lists_that_are_missing_altogether_are_named(root: Path) -> None:
    shutil.rmtree(root / "ImageSets")
    with pytest.raises(NoInputError, match="no folder ImageSets") as caught:
        Davis(root, "validation", SIZE)
    assert not isinstance(caught.value, NoSplitError)  # which would be passed over
