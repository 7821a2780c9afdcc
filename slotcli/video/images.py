"""Reads a folder of images, or an image file of several pages, as a clip."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from slotcli.errors import DataError, NoInputError, printable
from slotcli.files.reading import access_errors
from slotcli.types import FLAG_FORMAT_CHANGED, FrameChunk
from slotcli.video.file_kinds import content_kind, starting_bytes
from slotcli.video.folder_contents import list_folder
from slotcli.video.image_pixels import (
    FULL_DEPTH,
    PILLOW_WARNINGS,
    LoadedImage,
    depth_of,
    frame_pages,
    has_pages,
    load_file,
    load_page,
)
from slotcli.video.pixels import resized
from slotcli.video.source import MAX_PIXELS, Damage, SourceInfo
from slotcli.video.timing import Clock, Picture, chunk_frames

DEFAULT_IMAGE_RATE = Fraction(12)  # images per second
_TIMED_FORMATS = {"WEBP": Fraction(1, 1000), "AVIF": Fraction(1, 1000)}
_MEASURED = 8  # images sampled to find how many of their 16 bits are used

# Pillow's exceptions for files that are not images or are damaged.
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    struct.error,
    Image.DecompressionBombError,
)


def is_paged_image(path: Path) -> bool:
    """Whether FFmpeg would not read all of an image file, or not with the right brightness.

    TIFF, WebP and AVIF may have several pages, of which FFmpeg decodes the first or none; PNGs of
    16 bits may use fewer. False for unreadable files.
    """
    try:
        start = starting_bytes(path) if path.is_file() else b""  # a pipe might block forever
    except OSError:
        return False
    if content_kind(start) != "image":
        return False
    if start.startswith(b"\x89PNG"):
        return start[24:25] == b"\x10" and b"acTL" not in start
    if start.startswith(b"\xff\xd8"):
        try:
            with PILLOW_WARNINGS, warnings.catch_warnings(), Image.open(path) as image:
                warnings.simplefilter("ignore")
                return image.format == "MPO"
        except Exception:  # its reader will report the error
            return False
    return not start.startswith(b"BM")


class ImageFolderReader(AbstractContextManager["ImageFolderReader"]):
    """Reads the images of a folder, in natural order (2 before 10), one per tick of 1/rate.

    Subfolders are not read. For an image file it reads the pages, with the file's timing if it has
    any. All images are resized to the first readable one. Unreadable ones, and those of more than
    `max_pixels` pixels, are skipped, counted in `damage`, and leave a gap in time. If 16-bit values
    leave the upper bits unused, they are treated as values of fewer bits, as noted in `damage`.
    Raises NoInputError (no folder, no images), AccessError (the folder may not be read) or
    DataError (no readable image).
    """

    def __init__(
        self, path: Path, *, max_pixels: int = MAX_PIXELS, rate: Fraction = DEFAULT_IMAGE_RATE
    ) -> None:
        self.path = path
        self.damage = Damage(missing=0)
        self._max_pixels = max_pixels
        self._resources = ExitStack()
        self._paged: Image.Image | None = None
        self._depth = FULL_DEPTH
        try:
            self._open(rate)
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes a multi-page file; otherwise no file is open between images."""
        self._resources.close()

    def chunks(self, length: int) -> Iterator[FrameChunk]:
        """Yields all images, `length` at a time (the last chunk may be shorter)."""
        clock = Clock(self.info.time_base, self.info.average_rate)
        return chunk_frames(self._pictures(), length, clock, self.damage)

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"] | None:
        """The image of an index from 0 alone, as in `chunks`; None for an unreadable one."""
        loaded = self._load(self._items[index]) if 0 <= index < len(self._items) else None
        return None if loaded is None else resized(loaded.at_depth(self._depth)[0], self.info.size)

    def _open(self, rate: Fraction) -> None:
        # Pages of one file are indices, files are paths.
        self._items: list[Path] | list[int] = []
        with access_errors(self.path):
            if self.path.is_dir():
                self._items = files = self._frames_of_folder()
                total = sum(file.stat().st_size for file in files)
            else:
                self._items = self._pages_of_file()
                total = self.path.stat().st_size
        self._index, first = self._first_readable()
        if first.values is not None:
            self._measure_depth(first)
        self._format = (first.size, first.mode)
        timed = None
        if self._paged is not None and len(self._items) > 1:
            timed = _TIMED_FORMATS.get(self._paged.format or "")
        item = self._items[self._index]
        suffix = (item if isinstance(item, Path) else self.path).suffix
        self.info = SourceInfo(
            path=self.path,
            name=printable(self.path.name or self.path.resolve().name),
            bytes=total,
            codec=suffix.lower().lstrip("."),
            pixel_format=first.mode,
            coded_size=first.coded_size,
            size=first.size,
            rotation=0,
            flipped=False,
            sample_aspect=Fraction(1),
            time_base=timed or 1 / rate,
            average_rate=None if timed else rate,
            declared_seconds=None if timed else float(len(self._items) / rate),
            declared_frames=len(self._items),
            indexed_frames=len(self._items),
        )

    def _frames_of_folder(self) -> list[Path]:
        found = list_folder(self.path)
        if not found.frames:
            raise NoInputError(
                f"{printable(self.path)} has no images in it that make a clip.",
                "Give a folder with PNG, JPEG, WebP, BMP, TIFF or other images, or a video file.",
            )
        for path in found.videos:
            if content_kind(starting_bytes(path)) == "image":
                self.damage.note(
                    printable(f"{path.name} has several pages: it is a clip of its own, not here.")
                )
        return found.frames

    def _pages_of_file(self) -> list[int]:
        try:
            with PILLOW_WARNINGS, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._paged = self._resources.enter_context(Image.open(self.path))
                return list(frame_pages(self._paged)) if has_pages(self._paged) else [0]
        except OSError as error:
            if error.errno is not None:
                raise
            raise self._unreadable(error) from error
        except Exception as error:  # libraries raise any type for damaged files
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> DataError:
        reason = " ".join(str(error).split()).rstrip(".")
        return DataError(
            printable(f"{self.path} is not an image that can be read: {reason}."),
            "Check that it opens elsewhere.",
        )

    def _pictures(self) -> Iterator[Picture]:
        # Images before the first readable one were counted when the folder was opened.
        passed = 0  # milliseconds, for pages with timing
        for index, item in enumerate(self._items[self._index :], self._index):
            image = self._load(item)
            timed = self.info.average_rate is None
            length = max(1, self._milliseconds()) if timed else 1
            if image is not None:
                changed = (image.size, image.mode) != self._format
                flags = FLAG_FORMAT_CHANGED if changed else 0
                rgb, bright = image.at_depth(self._depth)
                if bright:
                    self.damage.note(
                        f"Values beyond {self._depth} bits were cut off, the first in "
                        f"{self._name(item)}."
                    )
                pts = passed if timed else index
                yield Picture(resized(rgb, self.info.size), pts, length, flags)
            passed += length

    def _milliseconds(self) -> int:
        assert self._paged is not None
        duration = self._paged.info.get("duration", 0)
        return round(duration) if isinstance(duration, int | float) else 0

    def _first_readable(self) -> tuple[int, LoadedImage]:
        for index, item in enumerate(self._items):
            image = self._load(item)
            if image is not None:
                return index, image
        raise DataError(
            f"None of the images in {printable(self.path)} can be read. {self.damage.notes[0]}",
            "Check that they open elsewhere.",
        )

    def _measure_depth(self, first: LoadedImage) -> None:
        """Finds how many of 16 bits the images use, from a sample over the whole clip."""
        assert first.values is not None
        if first.bits < FULL_DEPTH:
            self._depth = first.bits
            return
        brightest = int(first.values[..., :3].max())
        indices = np.linspace(self._index, len(self._items) - 1, _MEASURED).astype(int)
        counted, self.damage = self.damage, Damage()  # losses count when read in order
        for index in sorted({*indices.tolist()} - {self._index}):
            image = self._load(self._items[index])
            if image is not None and image.values is not None:
                brightest = max(brightest, int(image.values[..., :3].max()))
        self.damage = counted
        self._depth = depth_of(brightest)
        if self._depth < FULL_DEPTH:
            self.damage.note(
                f"Its 16-bit values reach {brightest} only: they were read as {self._depth}-bit "
                "ones."
            )

    def _name(self, item: Path | int) -> str:
        return printable(item.name if isinstance(item, Path) else f"page {item + 1}")

    def _load(self, item: Path | int) -> LoadedImage | None:
        try:
            with self._remarks(item):
                if isinstance(item, Path):
                    image = load_file(item, self._max_pixels)
                else:
                    assert self._paged is not None
                    self._paged.seek(item)
                    image = load_page(self._paged, self.path, self._max_pixels)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise any type for damaged files
            self.damage.packet_errors += 1
            reason = str(getattr(error, "strerror", None) or error).rstrip(".")
            self.damage.note(printable(f"{self._name(item)} could not be read: {reason}."))
            return None
        for remark in image.remarks:
            self.damage.note(remark)
        return image

    @contextmanager
    def _remarks(self, item: Path | int) -> Iterator[None]:
        """Counts Pillow's warnings, such as of a damaged orientation, as damage."""
        with PILLOW_WARNINGS, warnings.catch_warnings(record=True) as remarks:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `max_pixels` limits
            yield
        if remarks:
            first = " ".join(str(remarks[0].message).split()).rstrip(".")
            self.damage.note(printable(f"{self._name(item)} is damaged: {first}."))
