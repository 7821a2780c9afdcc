"""CLEVRTex from folders that Pillow wrote, beside the paper's preprocessing by torchvision."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as tv

from slotcli.data.formats.clevrtex import Clevrtex
from slotcli.errors import DataError, NoInputError
from slotcli.spec import SplitName

# The palette of the published masks: colours of ids 0 to 13.
PALETTE = (
    "000000 ff0000 008000 0000ff ffff00 8dd3c7 ffffb3 bebada fb8072 80b1d3 fdb462 b3de69 fccde5 "
    "d9d9d9"
)


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (240, 320, 3), np.uint8)


def ids(number: int) -> np.ndarray:
    coarse = np.random.default_rng(number + 1).integers(0, 11, (24, 32), np.uint8)
    return coarse.repeat(10, 0).repeat(10, 1)


def mask_image(labels: np.ndarray, palette: bytes = bytes.fromhex(PALETTE)) -> Image.Image:
    image = Image.frombytes("P", labels.shape[::-1], labels.tobytes())
    image.putpalette(palette)
    return image


def write_scene(folder: Path, number: int, variant: str = "full") -> Path:
    stem = folder / str(number // 1000) / f"CLEVRTEX_{variant}_{number:06d}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(number)).save(f"{stem}.png")
    mask_image(ids(number)).save(f"{stem}_flat.png")
    # What else comes with a scene.
    Image.fromarray(picture(number)).save(f"{stem}_albedo.png")
    stem.with_suffix(".json").write_text("{}")
    return stem


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first scenes of each split, written in an order of no meaning."""
    parent = tmp_path_factory.mktemp("clevrtex")
    for number in (10_001, 5_000, 1, 10_000, 0, 5_001, 2):
        write_scene(parent / "clevrtex_full", number)
    return parent


@pytest.mark.parametrize(
    ("split", "numbers"),
    [("test", (0, 1, 2)), ("validation", (5_000, 5_001)), ("train", (10_000, 10_001))],
)
@pytest.mark.parametrize("inner", ["", "clevrtex_full"])
def test_splits_are_ranges_of_scene_numbers(
    root: Path, inner: str, split: SplitName, numbers: tuple[int, ...]
) -> None:
    data = Clevrtex(root / inner, split, None)
    assert [data.name(i) for i in range(len(data))] == [f"CLEVRTEX_full_{n:06d}" for n in numbers]
    for index, number in enumerate(numbers):
        assert data.frames(index) == 1
        clip = data.clip(index, 0, 1)
        assert clip.labels is not None
        np.testing.assert_array_equal(clip.frames[0].permute(1, 2, 0), picture(number))
        np.testing.assert_array_equal(clip.labels[0], ids(number))


def test_sizes_as_in_the_paper(root: Path) -> None:
    clip = Clevrtex(root, "validation", (128, 128)).clip(1, 0, 1)
    assert clip.labels is not None
    tensor = torch.from_numpy(picture(5_001)).permute(2, 0, 1).double() / 127.5 - 1
    resized = tv.resize(tv.center_crop(tensor, [192, 192]), [128, 128], antialias=False)
    assert ((clip.frames[0] - (resized + 1) * 127.5).abs() < 1).all()
    mask = tv.center_crop(torch.from_numpy(ids(5_001)), [192, 192])[None]
    nearest = tv.resize(mask, [128, 128], tv.InterpolationMode.NEAREST)
    assert torch.equal(clip.labels, nearest)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_copies_in_colours_and_with_alpha_hold_the_same(tmp_path: Path, mode: str) -> None:
    stem = write_scene(tmp_path, 0)
    mask_image(ids(0)).convert(mode).save(f"{stem}_flat.png")
    Image.fromarray(picture(0)).convert(mode).save(f"{stem}.png")
    clip = Clevrtex(tmp_path, "test", None).clip(0, 0, 1)
    assert clip.labels is not None
    np.testing.assert_array_equal(clip.frames[0].permute(1, 2, 0), picture(0))
    np.testing.assert_array_equal(clip.labels[0], ids(0))


def test_variants_have_splits_of_their_own(tmp_path: Path) -> None:
    for number in (0, 2_000, 4_000):
        write_scene(tmp_path / "camo", number, "camo")
    write_scene(tmp_path / "outd", 0, "outd")
    for split, number in (("test", 0), ("validation", 2_000), ("train", 4_000)):
        data = Clevrtex(tmp_path / "camo", split, None)
        assert (len(data), data.name(0)) == (1, f"CLEVRTEX_camo_{number:06d}")
    assert len(Clevrtex(tmp_path / "outd", "test", None)) == 1
    with pytest.raises(NoInputError, match="no scenes for train"):
        Clevrtex(tmp_path / "outd", "train", None)
    with pytest.raises(NoInputError, match=r"CLEVRTex (camo and outd|outd and camo)"):
        Clevrtex(tmp_path, "test", None)


def test_missing_files_are_named_at_opening(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="no such folder"):
        Clevrtex(tmp_path / "none", "test", None)
    with pytest.raises(NoInputError, match="no scenes of CLEVRTex"):
        Clevrtex(tmp_path, "test", None)
    stems = {number: write_scene(tmp_path, number) for number in (0, 1, 2, 5_000)}
    with pytest.raises(NoInputError, match="no scenes for train"):
        Clevrtex(tmp_path, "train", None)
    for lost in (f"{stems[1]}_flat.png", f"{stems[1]}.png"):
        Path(lost).unlink()
        with pytest.raises(NoInputError, match=lost):
            Clevrtex(tmp_path, "test", None)
    write_scene(tmp_path, 6_001)
    Path(f"{stems[5_000]}.png").unlink()
    Path(f"{stems[5_000]}_flat.png").unlink()
    with pytest.raises(NoInputError, match=f"{stems[5_000]}.png"):
        Clevrtex(tmp_path, "validation", None)


def test_a_scene_in_two_places_is_refused(tmp_path: Path) -> None:
    write_scene(tmp_path / "copy", 0)
    write_scene(tmp_path, 0)
    with pytest.raises(DataError, match=r"CLEVRTEX_full_000000.*png stands in .* and in "):
        Clevrtex(tmp_path, "test", None)


def test_broken_files_are_named_at_access(tmp_path: Path) -> None:
    stems = [write_scene(tmp_path, number) for number in range(5)]
    content = Path(f"{stems[0]}.png").read_bytes()
    Path(f"{stems[0]}.png").write_bytes(content[: len(content) // 2])
    mask_image(ids(1)[:, :300]).save(f"{stems[1]}_flat.png")
    Image.fromarray(picture(2)).save(f"{stems[2]}_flat.png")
    high = ids(3)
    high[100, 100] = 255
    Image.fromarray(high).save(f"{stems[3]}_flat.png")
    Path(f"{stems[4]}_flat.png").write_text("no mask")
    data = Clevrtex(tmp_path, "test", (128, 128))
    for index, reason in enumerate(
        (
            r"\.png could not",
            "_flat.png is 300x240",
            "is the colour of no id",
            "id 255",
            "_flat.png",
        )
    ):
        with pytest.raises(DataError, match=rf"{stems[index]}.*{reason}"):
            data.clip(index, 0, 1)
