"""Source images of sprite clips: objects with alpha, and photographs."""

import hashlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from slotcli.errors import DataError, NoInputError, printable
from slotcli.files.reading import access_errors
from slotcli.video.file_kinds import PILLOW_SUFFIXES
from slotcli.video.images import UNREADABLE
from slotcli.video.source import MAX_PIXELS

OBJECT_SIDE = 160  # pixels of an object's longer side, at most
PHOTOGRAPH_SIDE = 640  # of a photograph's shorter side, at most
HELD_OUT_OBJECTS = 0.1
HELD_OUT_PHOTOGRAPHS = 0.15

_SMALLEST_OBJECT = 24  # pixels of the shorter side
_SMALLEST_PHOTOGRAPH = 64
_OPAQUE = 0.06  # least opaque fraction of an object's image; a sixth of it must be transparent
_ALIKE = 6.0  # mean difference in levels below which thumbnails are near-duplicates
_THUMBNAIL = 12
_SKIN_TONE = re.compile(r"1f3f[b-f]", re.IGNORECASE)
_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
_UNDECODABLE = (*UNREADABLE, Image.DecompressionBombWarning)


@dataclass
class Objects:
    """The usable objects of one part of a folder; decoded when first sampled, then cached."""

    paths: list[Path]
    _pictures: dict[int, np.ndarray | None] = field(default_factory=dict)

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 4"]:
        """Sample an object as RGBA, cropped to its visible part. Raises NoInputError, DataError."""
        for index in rng.integers(len(self.paths), size=100):
            picture = self._picture(int(index))
            if picture is not None:
                return picture
        raise NoInputError(
            f"{printable(self.paths[0].parent)}: its objects are almost wholly transparent or "
            "have no transparent part.",
            "Give pictures of single objects that are transparent around them.",
        )

    def _picture(self, index: int) -> UInt8[np.ndarray, "h w 4"] | None:
        if index not in self._pictures:
            self._pictures[index] = _object(self.paths[index])
        return self._pictures[index]


@dataclass(frozen=True)
class Photographs:
    """The photographs of one part of a folder, without near-duplicates."""

    pictures: list[np.ndarray]  # u8 [h w 3], of differing sizes

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        return self.pictures[int(rng.integers(len(self.pictures)))]


def open_objects(folder: Path, *, held_out: bool) -> Objects:
    """A folder's objects for training, or the tenth that is held out; split by file names only.

    Images without an alpha channel, below 24 pixels, or named as skin tone variants are left out.
    Raises NoInputError if none is left, AccessError and DataError.
    """
    found = list(_pictures_in(folder, "objects"))
    usable = [
        path
        for path in found
        if not _SKIN_TONE.search(path.name) and _has_alpha(path, _SMALLEST_OBJECT)
    ]
    if not usable:
        raise NoInputError(
            f"{printable(folder)}: none of its {len(found)} pictures has alpha and "
            f"{_SMALLEST_OBJECT} pixels or more a side.",
            "Give a folder of single objects that are transparent around them (PNG, WebP).",
        )
    side = [
        path
        for path in usable
        if is_held_out(_object_name(path, folder), HELD_OUT_OBJECTS) == held_out
    ]
    return Objects(_some(side, folder, len(usable), "objects", held_out))


def open_photographs(folder: Path, *, held_out: bool) -> Photographs:
    """A folder's photographs for training, or the 15 % that are held out; split by names only.

    Those below 64 pixels per side are left out, and of near-duplicates all but the first by name.
    All are decoded here, once per process, to detect near-duplicates. Raises NoInputError if none
    is left, AccessError and DataError.
    """
    every = _decoded_photographs(folder)
    side = [
        photograph
        for name, photograph in every
        if is_held_out(name, HELD_OUT_PHOTOGRAPHS) == held_out
    ]
    return Photographs(_some(side, folder, len(every), "photographs", held_out))


def is_held_out(name: str, share: float) -> bool:
    """Whether a name is in the fraction `share` that is held out: a function of the name only."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _some(side: list, folder: Path, total: int, things: str, held_out: bool) -> list:
    if side:
        return side
    part = "held out" if held_out else "for training"
    raise NoInputError(
        f"{printable(folder)}: by their names none of its {total} {things} is {part}.",
        f"Add {things}: a tenth of objects and 15 % of photographs are held out.",
    )


def _object_name(path: Path, folder: Path) -> str:
    """A name shared by the variants of one emoji: of gender, and of presentation."""
    name = path.relative_to(folder).as_posix()
    name = re.sub(r"-200d-264[02](?![0-9a-f])|-fe0f(?![0-9a-f])", "", name)
    return re.sub(r"(?<![0-9a-f])1f46[89](?![0-9a-f])", "1f9d1", name)


def _pictures_in(folder: Path, what: str) -> Iterator[Path]:
    if not folder.is_dir():
        raise NoInputError(
            f"{printable(folder)}: there is no such folder.", f"Give the folder of {what}."
        )
    empty = True
    with access_errors(folder):
        # Links are skipped: they lead to files that are found anyway, or out of the folder.
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in PILLOW_SUFFIXES and path.is_file() and not path.is_symlink():
                empty = False
                yield path
    if empty:
        raise NoInputError(
            f"{printable(folder)}: holds no picture.", f"Give the folder of {what} (PNG, WebP...)."
        )


def _has_alpha(path: Path, smallest: int) -> bool:
    try:
        with access_errors(path), path.open("rb") as file, Image.open(file) as image:
            alpha = image.mode in _ALPHA_MODES or "transparency" in image.info
            return alpha and min(image.size) >= smallest and _allowed(image)
    except _UNDECODABLE as error:
        raise _broken(path, error) from error


def _object(path: Path) -> UInt8[np.ndarray, "h w 4"] | None:
    try:
        with access_errors(path), path.open("rb") as file, Image.open(file) as image:
            rgba = np.array(_at_most(image, OBJECT_SIDE, max(image.size)).convert("RGBA"))
    except _UNDECODABLE as error:
        raise _broken(path, error) from error
    opaque = rgba[..., 3] > 40
    share = opaque.mean()
    if not _OPAQUE < share < 1 - _OPAQUE / 6:
        return None
    rows, columns = np.flatnonzero(opaque.any(1)), np.flatnonzero(opaque.any(0))
    return np.ascontiguousarray(rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


@lru_cache(maxsize=2)
def _decoded_photographs(folder: Path) -> list[tuple[str, np.ndarray]]:
    """Names and images, without near-duplicates."""
    paths = list(_pictures_in(folder, "photographs"))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        pictures = list(pool.map(_photograph, paths))
    kept: list[tuple[str, np.ndarray]] = []
    thumbnails: list[np.ndarray] = []
    for path, picture in zip(paths, pictures, strict=True):
        if picture is None:
            continue
        thumbnail = _thumbnail(picture)
        if any(np.abs(thumbnail - other).mean() < _ALIKE for other in thumbnails):
            continue
        thumbnails.append(thumbnail)
        kept.append((path.relative_to(folder).as_posix(), picture))
    if not kept:
        raise NoInputError(
            f"{printable(folder)}: none of its {len(paths)} pictures has "
            f"{_SMALLEST_PHOTOGRAPH} pixels or more a side.",
            "Give a folder of photographs.",
        )
    return kept


def _photograph(path: Path) -> UInt8[np.ndarray, "h w 3"] | None:
    try:
        with access_errors(path), path.open("rb") as file, Image.open(file) as image:
            if min(image.size) < _SMALLEST_PHOTOGRAPH or not _allowed(image):
                return None
            image.draft("RGB", (PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE))
            small = _at_most(image.convert("RGB"), PHOTOGRAPH_SIDE, min(image.size))
            return np.array(small)
    except _UNDECODABLE as error:
        raise _broken(path, error) from error


def _thumbnail(picture: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    """Thumbnail of the central square, because one wallpaper comes in several aspect ratios."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side]
    small = cv2.resize(square, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def _at_most(image: Image.Image, side: int, now: int) -> Image.Image:
    if now <= side:
        return image
    if image.mode == "P":
        image = image.convert("RGBA")
    scaled = tuple(max(1, round(length * side / now)) for length in image.size)
    return image.resize((scaled[0], scaled[1]), Image.Resampling.BILINEAR, reducing_gap=3.0)


def _allowed(image: Image.Image) -> bool:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"it has more than the {MAX_PIXELS} pixels allowed")
    return True


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{printable(path)} could not be read: {printable(str(error))}.",
        "Fetch the file again, or take it out of the folder.",
    )
