"""Pictures and label maps: what Pillow wrote comes back, what is damaged is refused by name."""

from io import BytesIO
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from slotcli.data.formats.pictures import (
    as_clip,
    labels_from,
    picture_from,
    read_labels,
    read_picture,
    resized_bilinear,
    resized_labels,
)
from slotcli.errors import DataError, NoInputError

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (24, 32, 3), np.uint8)
IDS = RNG.integers(0, 256, (24, 32), np.uint8)


def palette_image(ids: np.ndarray) -> Image.Image:
    """Ids with colours that have nothing to do with them."""
    image = Image.frombytes("P", ids.shape[::-1], ids.tobytes())
    image.putpalette(RNG.integers(0, 256, 768).astype(np.uint8).tobytes())
    return image


def encoded(image: Image.Image, kind: str) -> bytes:
    content = BytesIO()
    image.save(content, kind)
    return content.getvalue()


def test_palette_and_gray_masks_are_read_as_ids(tmp_path: Path) -> None:
    palette_image(IDS).save(tmp_path / "palette.png")
    Image.fromarray(IDS).save(tmp_path / "gray.png")
    Image.fromarray(IDS.astype(np.uint16)).save(tmp_path / "gray16.png")
    few = palette_image(IDS % 4)
    few.save(tmp_path / "two-bits.png", bits=2)
    for name in ("palette", "gray", "gray16"):
        np.testing.assert_array_equal(read_labels(tmp_path / f"{name}.png"), IDS)
    np.testing.assert_array_equal(read_labels(tmp_path / "two-bits.png"), IDS % 4)


def test_alpha_is_dropped_and_orientation_left(tmp_path: Path) -> None:
    alpha = RNG.integers(0, 256, (24, 32, 1), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.concatenate([PICTURE, alpha], 2)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), PICTURE)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.fromarray(PICTURE), "not a map of ids"),
        (Image.fromarray(np.full((4, 4), 256, np.uint16)), "ids from 256 to 256"),
    ],
)
def test_what_holds_no_ids_is_refused(tmp_path: Path, image: Image.Image, words: str) -> None:
    image.save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=rf"mask\.png could not be read: .*{words}"):
        read_labels(tmp_path / "mask.png")


def test_lossy_masks_are_refused() -> None:
    with pytest.raises(DataError, match="JPEG does not keep ids"):
        labels_from(encoded(Image.fromarray(IDS), "JPEG"), "mask")


def test_masks_of_another_size_are_refused(tmp_path: Path) -> None:
    Image.fromarray(IDS).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png is 32x24, its picture 24x32"):
        read_labels(tmp_path / "mask.png", (32, 24))


def test_files_that_are_missing_or_no_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match=r"gone\.png"):
        read_picture(tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.png could not be read: it is not an image"):
        read_picture(tmp_path / "text.png")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DataError, match=r"empty\.jpg"):
        read_picture(tmp_path / "empty.jpg")


def test_declared_sizes_are_looked_at_before_decoding(tmp_path: Path) -> None:
    for side in (8200, 10_000, 60_000):  # over our limit, Pillow's warning, Pillow's error
        content = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
        content[16:24] = side.to_bytes(4) + side.to_bytes(4)
        content[29:33] = crc32(content[12:29]).to_bytes(4)
        with pytest.raises(DataError, match=r"^bomb .*: .*(pixels allowed|exceeds limit)"):
            picture_from(bytes(content), "bomb")


@pytest.mark.parametrize("image", [Image.fromarray(PICTURE), palette_image(IDS)])
def test_any_flipped_bit_of_a_png_is_refused(image: Image.Image) -> None:
    content = encoded(image, "PNG")
    read = picture_from if image.mode == "RGB" else labels_from
    # The last 12 bytes say that this is the end, and hold nothing.
    rng = np.random.default_rng(1)
    for position in rng.integers(0, len(content) - 12, 200):
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.integers(8)
        with pytest.raises(DataError, match=r"^it could not be read"):
            read(bytes(damaged), "it")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_any_cut_off_file_is_refused(kind: str) -> None:
    content = encoded(Image.fromarray(PICTURE), kind)
    for length in range(0, len(content) - 16, 37):
        with pytest.raises(DataError, match="it could not be read"):
            picture_from(content[:length], "it")


@pytest.mark.parametrize("shape", [(192, 192), (218, 178), (480, 854), (64, 96)])
def test_sizes_as_torch_resizes_tensors_without_antialiasing(shape: tuple[int, int]) -> None:
    smooth = functional.interpolate(
        torch.from_numpy(RNG.random((1, 3, 9, 9))), shape, mode="bicubic", align_corners=False
    )
    picture = (smooth[0].permute(1, 2, 0).clamp(0, 1) * 255).to(torch.uint8)
    ids = torch.from_numpy(RNG.integers(0, 255, shape, np.uint8))
    ours = resized_bilinear(picture.numpy(), (128, 128))
    theirs = functional.interpolate(
        picture.permute(2, 0, 1)[None].double(), (128, 128), mode="bilinear", align_corners=False
    )
    assert np.abs(ours - theirs[0].permute(1, 2, 0).numpy()).max() < 1
    np.testing.assert_array_equal(
        resized_labels(ids.numpy(), (128, 128)),
        functional.interpolate(ids[None, None], (128, 128), mode="nearest")[0, 0].numpy(),
    )


def test_frames_of_two_sizes_are_no_clip() -> None:
    with pytest.raises(DataError, match=r"b\.png is 30x24, and a\.png is 32x24"):
        as_clip([Path("a.png"), Path("b.png")], [PICTURE, PICTURE[:, :30]], None)
