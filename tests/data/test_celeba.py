"""CelebA beside torchvision's own reader of the same folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CelebA
from torchvision.transforms import functional as tv

from slotcli.data.formats.celeba import Celeba
from slotcli.errors import DataError, NoInputError
from slotcli.spec import SplitName

CODES = [0, 0, 1, 0, 2, 1, 0, 2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """torchvision's layout, eight faces in three splits."""
    pictures = tmp_path / "celeba" / "img_align_celeba"
    pictures.mkdir(parents=True)
    names = [f"{number:06d}.jpg" for number in range(1, len(CODES) + 1)]
    rng = np.random.default_rng(0)
    for name in names:
        coarse = Image.fromarray(rng.integers(0, 256, (12, 10, 3), np.uint8))
        coarse.resize((178, 218), Image.Resampling.BICUBIC).save(pictures / name, quality=95)
    lines = [f"{name} {code}\n" for name, code in zip(names, CODES, strict=True)]
    (pictures.parent / "list_eval_partition.txt").write_text("".join(lines))
    # torchvision opens every list, whatever is asked of it.
    for file, columns, headers in (
        ("identity_CelebA.txt", 1, 0),
        ("list_bbox_celeba.txt", 4, 2),
        ("list_landmarks_align_celeba.txt", 10, 2),
        ("list_attr_celeba.txt", 40, 2),
    ):
        rows = [f"{name} {' '.join(['1'] * columns)}\n" for name in names]
        header = [f"{len(names)}\n", " ".join(f"c{i}" for i in range(columns)) + "\n"]
        (pictures.parent / file).write_text("".join(header[:headers] + rows))
    return tmp_path


@pytest.mark.parametrize(
    ("split", "theirs"), [("train", "train"), ("validation", "valid"), ("test", "test")]
)
def test_splits_and_pixels_are_torchvisions(
    root: Path, split: SplitName, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It knows the published checksums only.
    monkeypatch.setattr(CelebA, "_check_integrity", lambda self: True)
    oracle = CelebA(str(root), split=theirs, target_type=[])
    whole, squeezed = Celeba(root, split, None), Celeba(root, split, (128, 128))
    assert len(whole) == len(squeezed) == len(oracle) > 0
    for index in range(len(oracle)):
        picture = np.array(oracle[index][0])
        clip = whole.clip(index, 0, 1)
        assert whole.frames(index) == 1
        assert clip.labels is None
        np.testing.assert_array_equal(clip.frames[0].permute(1, 2, 0), picture)
        tensor = torch.from_numpy(picture).permute(2, 0, 1).double()
        resized = tv.resize(tensor, [128, 128], antialias=False)
        assert ((squeezed.clip(index, 0, 1).frames[0] - resized).abs() < 1).all()
    assert [f"{whole.name(i)}.jpg" for i in range(len(whole))] == list(oracle.filename)


@pytest.mark.parametrize("inner", ["celeba", "celeba/img_align_celeba"])
def test_inner_folders_are_as_good(root: Path, inner: str) -> None:
    assert len(Celeba(root / inner, "train", None)) == 4


def test_missing_files_are_named_at_opening(root: Path) -> None:
    pictures = root / "celeba" / "img_align_celeba"
    (pictures / "000003.jpg").unlink()
    assert len(Celeba(root, "train", None)) == 4
    with pytest.raises(NoInputError, match=r"000003\.jpg is not there\."):
        Celeba(root, "validation", None)
    (pictures / "000006.jpg").unlink()
    with pytest.raises(NoInputError, match=r"000003\.jpg is not there, nor are 1 others"):
        Celeba(root, "validation", None)
    (root / "celeba" / "list_eval_partition.txt").unlink()
    with pytest.raises(NoInputError, match=r"list_eval_partition\.txt"):
        Celeba(root, "train", None)
    with pytest.raises(NoInputError, match="holds no CelebA"):
        Celeba(root / "elsewhere", "train", None)


@pytest.mark.parametrize("line", ["000009.jpg", "000009.jpg 3", "../../etc/passwd 0", "a b 0"])
def test_lines_that_are_no_assignment_are_named(root: Path, line: str) -> None:
    with (root / "celeba" / "list_eval_partition.txt").open("a") as partition:
        partition.write(f"{line}\n")
    with pytest.raises(DataError, match=rf"partition\.txt, line 9: .*{line}"):
        Celeba(root, "test", None)


def test_a_split_without_pictures_is_refused(root: Path) -> None:
    (root / "celeba" / "list_eval_partition.txt").write_text("000001.jpg 0\n")
    with pytest.raises(NoInputError, match="no pictures for test"):
        Celeba(root, "test", None)


def test_broken_pictures_are_named(root: Path) -> None:
    path = root / "celeba" / "img_align_celeba" / "000005.jpg"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"000005\.jpg could not be read"):
        Celeba(root, "test", None).clip(0, 0, 1)
