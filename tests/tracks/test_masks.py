from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from slotcli.errors import CannotCreateError, DataError, NoInputError, OutputError
from slotcli.tracks.masks import (
    Ffv1MaskWriter,
    PngMaskWriter,
    labels_from_attention,
    read_masks,
)
from slotcli.tracks.transform import Transform

TRANSFORM = Transform(source_size=(45, 70), crop=(3, 11, 40, 53), model_size=(32, 32))


def random_attention(seed: int, num_frames: int = 2, num_slots: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_frames, num_slots, 8, 8, generator=generator).softmax(dim=1)


@pytest.mark.parametrize("background", [(), (0,), (3, 1)])
def test_labels_against_float64_interpolation(background):
    attention = random_attention(0)
    labels = labels_from_attention(attention, TRANSFORM, background)
    upsampled = torch.nn.functional.interpolate(
        attention.half().double(), size=(40, 53), mode="bilinear", align_corners=False
    )
    expected = np.full((2, 45, 70), 255)
    winners = upsampled.argmax(dim=1).numpy()
    expected[:, 3:43, 11:64] = np.where(np.isin(winners, background), 0, winners + 1)
    top = upsampled.topk(2, dim=1).values
    clear = np.ones_like(expected, dtype=bool)
    clear[:, 3:43, 11:64] = (top[:, 0] - top[:, 1] > 1e-6).numpy()
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(labels[clear], expected[clear])


def test_stored_attention_gives_the_same_pixels():
    attention = random_attention(1)
    direct = labels_from_attention(attention, TRANSFORM, [2])
    stored = labels_from_attention(attention.half().numpy(), TRANSFORM, [2])
    np.testing.assert_array_equal(direct, stored)


def test_more_slots_than_a_label_image_holds():
    with pytest.raises(DataError, match="hold 254 slots"):
        labels_from_attention(torch.zeros(1, 255, 2, 2), TRANSFORM)
    assert labels_from_attention(torch.zeros(1, 254, 2, 2), TRANSFORM)[0, 3, 11] == 1


def frames_of_labels() -> np.ndarray:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 16, size=(3, 37, 51), dtype=np.uint8)
    labels[:, :4] = 255
    return labels


def test_png_masks_in_an_independent_reader(tmp_path):
    labels = frames_of_labels()
    with PngMaskWriter(tmp_path / "masks") as writer:
        for frame in labels:
            writer.write(frame, 0, 1)
    files = sorted((tmp_path / "masks").iterdir())
    assert [file.name for file in files] == ["00000.png", "00001.png", "00002.png"]
    for file, expected in zip(files, labels, strict=True):
        with Image.open(file) as image:
            assert image.mode == "P"
            np.testing.assert_array_equal(np.array(image), expected)
            palette = image.getpalette()
        assert palette is not None
        assert len(palette) == 768
        assert palette[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
    for got, expected in zip(read_masks(tmp_path / "masks"), labels, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_ffv1_masks_read_back_equal(tmp_path):
    labels = frames_of_labels()
    path = tmp_path / "masks.mkv"
    with Ffv1MaskWriter(path, (37, 51), Fraction(1, 25)) as writer:
        for position, frame in enumerate(labels):
            writer.write(frame, position, 1)
    for got, expected in zip(read_masks(path), labels, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_reading_what_is_no_mask(tmp_path):
    with pytest.raises(NoInputError):
        next(read_masks(tmp_path / "nothing"))
    with pytest.raises(NoInputError):
        next(read_masks(tmp_path))
    (tmp_path / "text.mkv").write_text("no video")
    with pytest.raises(DataError):
        next(read_masks(tmp_path / "text.mkv"))
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    with pytest.raises(DataError, match="RGB"):
        next(read_masks(tmp_path))
    (tmp_path / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="decoded"):
        next(read_masks(tmp_path))


def test_a_full_disk_is_an_output_error(tmp_path):
    folder = tmp_path / "masks"
    with PngMaskWriter(folder) as writer:
        (folder / "00000.png").symlink_to("/dev/full")
        with pytest.raises(OutputError, match="disk is full"):
            writer.write(np.zeros((300, 300), np.uint8), 0, 1)
    (tmp_path / "file").touch()
    with pytest.raises(CannotCreateError), PngMaskWriter(tmp_path / "file"):
        pass
