"""Single images and label maps of data sets: read whole and exactly, or refused by name."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from slotcli.errors import DataError, printable
from slotcli.files.reading import access_errors
from slotcli.types import Clip, Size
from slotcli.video.images import UNREADABLE
from slotcli.video.source import MAX_PIXELS

# Above 89 million pixels Pillow warns before our own limit is checked; a warning may be an error.
_UNDECODABLE = (*UNREADABLE, Image.DecompressionBombWarning)


def read_picture(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """RGB of an image file as it is coded: alpha is dropped, a camera's orientation not applied.

    Label maps refer to coded pixels, so images are not rotated. Raises NoInputError, AccessError or
    DataError, each naming the file.
    """
    return picture_from(_content(path), path)


def read_labels(
    path: Path, size: Size | None = None, colours: Sequence[int] = ()
) -> UInt8[np.ndarray, "h w"]:
    """Ids of a label map: a palette's indices, never its colours, or gray levels.

    With a `size`, a map of another size is refused. An RGB map is read by `colours` (0xRRGGBB, that
    of id 0 first). Raises NoInputError, AccessError or DataError, each naming the file.
    """
    return labels_from(_content(path), path, size, colours)


def picture_from(content: bytes, origin: Path | str) -> UInt8[np.ndarray, "h w 3"]:
    """RGB of an image file's content, as `read_picture`; `origin` is its name in errors."""
    return _decoded(content, origin, _rgb)


def labels_from(
    content: bytes, origin: Path | str, size: Size | None = None, colours: Sequence[int] = ()
) -> UInt8[np.ndarray, "h w"]:
    """Ids of a label map's content, as `read_labels`; `origin` is its name in errors."""
    labels = _decoded(content, origin, lambda image: _ids(image, colours))
    if size is not None and labels.shape != size:
        raise DataError(
            f"{printable(origin)} is {_format_size(labels.shape)}, "
            f"its picture {_format_size(size)}.",
            "Fetch both files again.",
        )
    return labels


def resized_labels(labels: UInt8[np.ndarray, "h w"], size: Size) -> UInt8[np.ndarray, "h2 w2"]:
    """Nearest labels at (height, width): pixel i of s is pixel floor(i * side / s) of a side.

    Source: `interpolate(mode="nearest")` of torch, by which SlotDiffusion resizes masks.
    """
    rows, columns = (
        np.arange(target) * side // target for target, side in zip(size, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]


def resized_bilinear(picture: UInt8[np.ndarray, "h w 3"], size: Size) -> UInt8[np.ndarray, "..."]:
    """The image at (height, width), [h2 w2 3], bilinear without antialiasing.

    The tensors of the paper's CLEVRTex and CelebA were resized in this way (torchvision 0.11), and
    its reconstruction errors depend on it; equal to within rounding to a level. It aliases: use
    `resized` for anything else.
    """
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def as_clip(
    paths: Sequence[Path], pictures: Sequence[np.ndarray], labels: Sequence[np.ndarray] | None
) -> Clip:
    """A clip of u8 images [h w 3] and label maps [h w]. Raises DataError where sizes differ."""
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            raise DataError(
                f"{printable(path)} is {_format_size(picture.shape)}, and {printable(paths[0])} is "
                f"{_format_size(pictures[0].shape)}.",
                "Frames of a clip have one size: fetch the files again.",
            )
    return Clip(
        torch.from_numpy(np.stack([picture.transpose(2, 0, 1) for picture in pictures])),
        None if labels is None else torch.from_numpy(np.stack(labels)),
    )


def _content(path: Path) -> bytes:
    with access_errors(path):
        return path.read_bytes()


def _decoded(
    content: bytes, origin: Path | str, convert: Callable[[Image.Image], np.ndarray]
) -> np.ndarray:
    try:
        with Image.open(BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"it has more than the {MAX_PIXELS} pixels allowed")
            # Checks the checksums of a PNG file, which decoding skips.
            image.verify()
        with Image.open(BytesIO(content)) as image:
            return convert(image)
    except _UNDECODABLE as error:
        # Pillow names the object in memory where it has no better reason.
        reason = "it is not an image" if "BytesIO" in str(error) else printable(str(error))
        raise DataError(
            f"{printable(origin)} could not be read: {reason}.",
            "Fetch the file again; nothing is put in its place.",
        ) from error


def _rgb(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"a picture of mode {image.mode} has no known range")
    return np.array(image.convert("RGB"))


def _ids(image: Image.Image, colours: Sequence[int]) -> UInt8[np.ndarray, "h w"]:
    if image.format == "JPEG":
        raise ValueError("JPEG does not keep ids")
    if colours and image.mode in ("RGB", "RGBA"):
        return _ids_of_colours(np.array(image.convert("RGB")), colours)
    if image.mode not in ("P", "L", "1", "I", "I;16"):
        raise ValueError(f"it is a picture of mode {image.mode}, not a map of ids")
    ids = np.asarray(image)
    if ids.min() < 0 or ids.max() > 255:
        raise ValueError(f"it has ids from {ids.min()} to {ids.max()}, and 254 is the highest")
    return ids.astype(np.uint8)


def _ids_of_colours(
    rgb: UInt8[np.ndarray, "h w 3"], colours: Sequence[int]
) -> UInt8[np.ndarray, "h w"]:
    packed = rgb.astype(np.int64) @ (1 << 16, 1 << 8, 1)
    ids = np.full(packed.shape, 255, np.uint8)
    for number, colour in enumerate(colours):
        ids[packed == colour] = number
    if (ids == 255).any():
        raise ValueError(f"#{packed[ids == 255][0]:06x} is the colour of no id")
    return ids


def _format_size(size: Sequence[int]) -> str:
    return f"{size[1]}x{size[0]}"
