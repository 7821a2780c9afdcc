"""Reads a folder of images as a clip: the same interface as a video file's reader."""

import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from slotcli.errors import DataError, NoInputError, printable
from slotcli.types import FLAG_FORMAT_CHANGED, FrameChunk, Size
from slotcli.video.pixels import on_gray, resized
from slotcli.video.source import MAX_PIXELS, Damage, SourceInfo, access_errors
from slotcli.video.timing import Clock, Picture, chunked

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"))
DEFAULT_IMAGE_RATE = Fraction(12)  # images a second

_WARNINGS = threading.Lock()  # catching them is the whole process', and each clip has a thread

# What Pillow raises on files that are not, or no longer, images.
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    struct.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class LoadedImage:
    """One image, upright."""

    rgb: UInt8[np.ndarray, "h w 3"]
    mode: str  # Pillow's name of its pixel format
    coded_size: Size


class ImageFolderReader(AbstractContextManager["ImageFolderReader"]):
    """The images directly in a folder, in natural order (2 before 10), one a tick of 1/rate.

    All are resized to the first readable one. Unreadable ones are skipped, counted in `damage`,
    and leave a gap in time; so are those of more than `max_pixels` pixels. Raises NoInputError (no
    folder, no images), AccessError (the folder may not be read) or DataError (no image can be).
    """

    def __init__(
        self, path: Path, *, max_pixels: int = MAX_PIXELS, rate: Fraction = DEFAULT_IMAGE_RATE
    ) -> None:
        self.path = path
        self.damage = Damage(missing=0)
        self._max_pixels = max_pixels
        with access_errors(path):
            visible = [f for f in path.iterdir() if f.name[0] != "." and f.is_file()]
            images = [f for f in visible if f.suffix.lower() in IMAGE_SUFFIXES]
            self._files = sorted(images, key=_natural)
            total = sum(f.stat().st_size for f in self._files)
        if not self._files:
            raise NoInputError(
                f"{printable(path)} has no images in it.",
                "Give a folder with PNG, JPEG, WebP, BMP or TIFF files, or a video file.",
            )
        self._index, first = self._first_readable()
        self._format = (first.rgb.shape[:2], first.mode)
        self.info = SourceInfo(
            path=path,
            name=printable(path.name or path.resolve().name),
            bytes=total,
            codec=self._files[self._index].suffix.lower().lstrip("."),
            pixel_format=first.mode,
            coded_size=first.coded_size,
            size=first.rgb.shape[:2],
            rotation=0,
            flipped=False,
            sample_aspect=Fraction(1),
            time_base=1 / rate,
            average_rate=rate,
            declared_seconds=float(len(self._files) / rate),
            declared_frames=len(self._files),
            indexed_frames=len(self._files),
        )

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing stays open between images."""

    def chunks(self, length: int) -> Iterator[FrameChunk]:
        """Yields all images, `length` at a time (the last chunk may be shorter)."""
        clock = Clock(self.info.time_base, self.info.average_rate)
        return chunked(self._pictures(), length, clock, self.damage)

    def _pictures(self) -> Iterator[Picture]:
        # Those before the first readable one were counted when the folder was opened.
        for index, file in enumerate(self._files[self._index :], self._index):
            image = self._load(file)
            if image is None:
                continue
            changed = (image.rgb.shape[:2], image.mode) != self._format
            flags = FLAG_FORMAT_CHANGED if changed else 0
            yield Picture(resized(image.rgb, self.info.size), index, 1, flags)

    def _first_readable(self) -> tuple[int, LoadedImage]:
        for index, file in enumerate(self._files):
            image = self._load(file)
            if image is not None:
                return index, image
        raise DataError(
            f"None of the images in {printable(self.path)} can be read. {self.damage.notes[0]}",
            "Check that they open elsewhere.",
        )

    def _load(self, file: Path) -> LoadedImage | None:
        try:
            with self._remarks(file), Image.open(file) as image:
                if image.width * image.height > self._max_pixels:
                    raise ValueError(f"more than the {self._max_pixels} pixels allowed")
                coded_size = (image.height, image.width)
                mode = image.mode
                rgb, transparent = _to_rgb(ImageOps.exif_transpose(image))
        except UNREADABLE as error:
            self.damage.packet_errors += 1
            reason = str(getattr(error, "strerror", None) or error).rstrip(".")
            self.damage.note(printable(f"{file.name} could not be read: {reason}."))
            return None
        if transparent:
            self.damage.note("Some images are transparent: mid-gray was laid behind them.")
        return LoadedImage(rgb, mode, coded_size)

    @contextmanager
    def _remarks(self, file: Path) -> Iterator[None]:
        """What Pillow only warns of, a damaged orientation for one, is damage too."""
        with _WARNINGS, warnings.catch_warnings(record=True) as remarks:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is our own
            yield
        if remarks:
            first = " ".join(str(remarks[0].message).split()).rstrip(".")
            self.damage.note(printable(f"{file.name} is damaged: {first}."))


def _to_rgb(image: Image.Image) -> tuple[UInt8[np.ndarray, "h w 3"], bool]:
    if image.mode == "F":
        raise ValueError("floating point images have no known range")
    if image.mode.startswith("I"):
        # Pillow clips 16-bit gray to 255 where it should scale.
        gray = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2), False
    if image.has_transparency_data:
        return on_gray(np.array(image.convert("RGBA")))
    return np.array(image.convert("RGB")), False


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts numbers inside names by value: frame2 before frame10."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(p), p) if p[:1].isdecimal() and p.isascii() else (-1, p) for p in parts]
