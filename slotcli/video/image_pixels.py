"""Pixels of image files of any bit depth, and the pages of multi-page files."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from itertools import islice
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from slotcli.types import Size
from slotcli.video.file_kinds import FFMPEG_IMAGE_SUFFIXES, starting_bytes
from slotcli.video.pixels import on_gray, to_rgb

# Formats whose pages are the frames of a clip. An MPO's are other views of one photo.
PAGED_FORMATS = frozenset(("TIFF", "WEBP", "AVIF", "PNG", "GIF"))
FULL_DEPTH = 16
# Bit depths of cameras, whose values scientific software often stores unscaled in 16 bits.
_DEPTHS = (8, 10, 12, 14, FULL_DEPTH)
# Warning filters are global to the process, and each clip has a thread.
PILLOW_WARNINGS = threading.Lock()
_REDUCED = (254, 1)  # TIFF's tag and bit of a page that is a smaller copy of another
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258
_VIEWS = "Some images hold several views of one photo: the first one was used."
_UPPER = "16-bit colours of later pages were cut to their upper 8 bits."
TRANSPARENT = "Some images are transparent: mid-gray was laid behind them."


@dataclass(frozen=True)
class LoadedImage:
    """One image, upright: 8-bit `rgb`, or instead `values` with 16 bits per channel."""

    rgb: UInt8[np.ndarray, "h w 3"] | None
    values: np.ndarray | None  # uint16, [h, w, channels]: 1 gray, 3 RGB, 4 RGBA
    mode: str  # its pixel format, as named by Pillow or FFmpeg
    coded_size: Size
    remarks: tuple[str, ...] = ()
    bits: int = FULL_DEPTH  # declared by the file

    @property
    def size(self) -> Size:
        pixels = self.values if self.rgb is None else self.rgb
        assert pixels is not None
        return (pixels.shape[0], pixels.shape[1])

    def at_depth(self, bits: int) -> tuple[UInt8[np.ndarray, "h w 3"], bool]:
        """8-bit RGB from values of `bits` bits, and whether brighter ones were clipped."""
        if self.values is None:
            assert self.rgb is not None
            return self.rgb, False
        colour = self.values[..., :3]
        bright = int(colour.max(initial=0)) >> bits > 0
        narrow = np.minimum(colour >> (bits - 8), 255).astype(np.uint8)
        if self.values.shape[2] == 4:
            alpha = (self.values[..., 3:] >> 8).astype(np.uint8)
            return on_gray(np.concatenate([narrow, alpha], axis=2))[0], bright
        return np.ascontiguousarray(np.broadcast_to(narrow, (*narrow.shape[:2], 3))), bright


def depth_of(brightest: int) -> int:
    """Assumed bit depth of 16-bit values up to `brightest`: 8, 10, 12, 14 or 16."""
    if brightest == 0:
        return FULL_DEPTH
    return next(bits for bits in _DEPTHS if brightest >> bits == 0)


def frame_pages(image: Image.Image) -> Iterator[int]:
    """Indices of an opened image's pages, without reduced copies; the image is at that page."""
    yield 0
    if image.format not in PAGED_FORMATS or not getattr(image, "is_animated", False):
        return
    tag, bit = _REDUCED
    page = 1
    while True:
        try:
            image.seek(page)
        except EOFError:
            return
        if not int(getattr(image, "tag_v2", {}).get(tag, 0)) & bit:
            yield page
        page += 1


def has_pages(image: Image.Image) -> bool:
    """Whether an opened image has several pages, without reduced copies; returns to the first."""
    several = len(list(islice(frame_pages(image), 2))) > 1
    if several:
        image.seek(0)
    return several


def load_file(path: Path, max_pixels: int) -> LoadedImage:
    """Load the first or only image of a file. Raises ValueError, and its decoder's errors."""
    if path.suffix.lower() in FFMPEG_IMAGE_SUFFIXES:
        with FileIO(path) as file:
            return _by_ffmpeg(file, max_pixels)
    with Image.open(path) as image:
        return load_page(image, path, max_pixels)


def load_page(image: Image.Image, path: Path, max_pixels: int) -> LoadedImage:
    """Load the current page of an opened image. Raises as `load_file`."""
    _check_pixels(image.size, max_pixels)
    coded_size = (image.height, image.width)
    remarks = (_VIEWS,) if image.format == "MPO" and getattr(image, "n_frames", 1) > 1 else ()
    bits = _bits(image, path)
    # Pillow keeps only the upper byte of 16-bit colours.
    wide = bits > 8 and image.mode in ("RGB", "RGBA")
    if wide and image.tell() == 0:
        turn = image.getexif().get(_ORIENTATION, 1)
        with FileIO(path) as file:
            values = _wide_by_ffmpeg(file)
        return LoadedImage(None, _turned(values, turn), f"{image.mode};16", coded_size, remarks)
    if wide:
        remarks += (_UPPER,)
    mode = image.mode
    upright = ImageOps.exif_transpose(image)
    if mode == "F":
        raise ValueError("floating point images have no known range")
    if mode.startswith("I"):
        values = np.asarray(upright)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("32-bit images have no known range")
        declared = bits if 8 < bits < FULL_DEPTH else FULL_DEPTH
        values = values.astype(np.uint16)[..., None]
        return LoadedImage(None, values, mode, coded_size, remarks, declared)
    if not upright.has_transparency_data:
        return LoadedImage(np.array(upright.convert("RGB")), None, mode, coded_size, remarks)
    rgb, transparent = on_gray(np.array(upright.convert("RGBA")))
    if transparent:
        remarks += (TRANSPARENT,)
    return LoadedImage(rgb, None, mode, coded_size, remarks)


def _bits(image: Image.Image, path: Path) -> int:
    """Bits per channel, as declared in the header of a PNG or TIFF; 8 for other formats."""
    if image.format == "PNG":
        return starting_bytes(path)[24]
    declared = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, 8)
    return int(max(declared) if isinstance(declared, tuple) else declared)


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise ValueError(f"more than the {max_pixels} pixels allowed")


def _by_ffmpeg(file: FileIO, max_pixels: int) -> LoadedImage:
    limits = {"protocol_whitelist": "none", "max_pixels": str(max_pixels)}
    with av.open(file, "r", options=limits) as container:
        coded = container.streams.video[0].codec_context
        _check_pixels((coded.width, coded.height), max_pixels)
        frame = next(container.decode(video=0))
        _check_pixels((frame.width, frame.height), max_pixels)
        rgb, remarks = to_rgb(frame)
    return LoadedImage(rgb, None, frame.format.name, (frame.height, frame.width), tuple(remarks))


def _wide_by_ffmpeg(file: FileIO) -> np.ndarray:
    with av.open(file, "r", options={"protocol_whitelist": "none"}) as container:
        frame = next(container.decode(video=0))
    transparent = any(component.is_alpha for component in frame.format.components)
    return frame.to_ndarray(format="rgba64le" if transparent else "rgb48le")


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns pixels upright from one of EXIF's eight orientations."""
    flipped = pixels[:, ::-1] if orientation in (2, 4, 5, 7) else pixels
    quarters = {3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}.get(orientation, 0)
    return np.ascontiguousarray(np.rot90(flipped, quarters))
