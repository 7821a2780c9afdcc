"""Converts attention on the encoder's grid to labels of the source's pixels, and to mask files.

Slot k has label k + 1; label 0 is only for the background slots; OUTSIDE (255) is for the pixels
outside the crop. Labels are always computed from attention rounded to float16, as the slot file
stores it, so that an export writes the same pixels as the first run.
"""

import re
import zlib
from collections.abc import Collection, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import av
import cv2
import numpy as np
import torch
from av.error import FFmpegError
from jaxtyping import Float, UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from slotcli.errors import DataError, NoInputError, printable
from slotcli.files.writing import output_errors
from slotcli.kernels import mask_argmax
from slotcli.tracks.palette import davis_palette
from slotcli.tracks.transform import Transform
from slotcli.types import OUTSIDE, Size
from slotcli.video.own_outputs import MARK
from slotcli.video.writer import VideoWriter

MAX_SLOTS = OUTSIDE - 1
PNG_COMPRESSION = 3  # flat areas compress well at any level; higher ones only cost time


def labels_from_attention(
    attention: Float[Tensor, "t n h w"] | Float[np.ndarray, "t n h w"],
    transform: Transform,
    background: Collection[int] = (),
) -> UInt8[np.ndarray, "t height width"]:
    """Label every source pixel with the slot whose upsampled attention is greatest there.

    The attention, rounded to float16, is upsampled bilinearly (align_corners=False) to the crop.
    Slots of the `background` have label 0. Raises DataError for more than 254 slots, which no label
    image can represent.
    """
    attention = torch.as_tensor(attention)
    _require_labels(attention.shape[1])
    winners = mask_argmax(attention.half().float(), transform.crop_size).cpu().numpy()
    return labels_of_winners(winners, attention.shape[1], transform, background)


def labels_of_winners(
    winners: UInt8[np.ndarray, "t h w"],
    num_slots: int,
    transform: Transform,
    background: Collection[int],
) -> UInt8[np.ndarray, "t height width"]:
    """Labels at the source's size from the winning slot of each pixel of the crop.

    Raises DataError for more than 254 slots.
    """
    _require_labels(num_slots)
    label_of_slot = np.zeros(256, np.uint8)
    label_of_slot[:num_slots] = np.arange(1, num_slots + 1)
    label_of_slot[list(background)] = 0
    top, left, height, width = transform.crop
    labels = np.full((len(winners), *transform.source_size), OUTSIDE, dtype=np.uint8)
    inside = cv2.LUT(winners.reshape(len(winners), -1), label_of_slot).reshape(winners.shape)
    labels[:, top : top + height, left : left + width] = inside
    return labels


def _require_labels(num_slots: int) -> None:
    if num_slots > MAX_SLOTS:
        raise DataError(
            f"Label images hold {MAX_SLOTS} slots, not {num_slots}.",
            "Use fewer slots.",
        )


def objects_in(labels: UInt8[np.ndarray, "h w"]) -> list[int]:
    """Labels of the objects in a frame, ascending, without the background and OUTSIDE."""
    present = np.bincount(labels.ravel(), minlength=OUTSIDE + 1)
    return (np.flatnonzero(present[1:OUTSIDE]) + 1).tolist()


@runtime_checkable
class MaskWriter(Protocol):
    """Writes the labels of a clip frame by frame; used as a context manager.

    The output is complete when the context is left, and memory does not grow with the frames.
    Frames are numbered from 0 in order. Raises: OutputError and its kin.
    """

    def __enter__(self) -> "MaskWriter": ...

    def __exit__(self, *details: Any) -> None: ...

    def write(
        self,
        labels: UInt8[np.ndarray, "h w"],
        pts: int,
        duration: int,
        picture: UInt8[np.ndarray, "h w 3"] | None = None,
    ) -> None:
        """Add a frame, at `pts` and for `duration` in ticks; few formats need the RGB `picture`."""


W = TypeVar("W", bound="FolderWriter")  # beartype does not read typing.Self in methods


class FolderWriter:
    """A writer of one or more files per frame to `folder`, created if missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self: W) -> W:
        with output_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *details: Any) -> None:
        pass


class PngMaskWriter(FolderWriter):
    """Writes DAVIS palette PNGs 00000.png, 00001.png, ... to `folder`, created if missing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._palette = davis_palette().tobytes()
        self._count = 0

    def write(
        self,
        labels: UInt8[np.ndarray, "h w"],
        pts: int,
        duration: int,
        picture: UInt8[np.ndarray, "h w 3"] | None = None,
    ) -> None:
        """Write the next file; PNGs have no timing, so `pts` and `duration` are ignored.

        Raises: OutputError and its kin.
        """
        height, width = labels.shape
        image = Image.frombytes("P", (width, height), np.ascontiguousarray(labels).tobytes())
        image.putpalette(self._palette)
        path = self._folder / f"{self._count:05d}.png"
        with output_errors(path):
            # Labels form runs: Z_RLE is as fast as zlib's default, for half the bytes.
            image.save(path, format="PNG", compress_level=PNG_COMPRESSION, compress_type=zlib.Z_RLE)
        self._count += 1


class Ffv1MaskWriter:
    """Writes one lossless gray FFV1 video of the labels, with the source's timing.

    With `excerpt` its first frame is at time 0, whatever its time in the source.
    """

    def __init__(
        self, path: Path, size: Size, time_base: Fraction, *, excerpt: bool = False
    ) -> None:
        self._video = VideoWriter(path, size, time_base, codec="ffv1-gray", mark=MARK)
        self._shift: int | None = None if excerpt else 0

    def __enter__(self) -> "Ffv1MaskWriter":
        self._video.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._video.__exit__(*details)

    def write(
        self,
        labels: UInt8[np.ndarray, "h w"],
        pts: int,
        duration: int,
        picture: UInt8[np.ndarray, "h w 3"] | None = None,
    ) -> None:
        """Write the next frame; `pts` and `duration` in ticks. Raises: OutputError and its kin."""
        if self._shift is None:
            self._shift = pts
        self._video.write(labels, pts - self._shift, duration)


def read_masks(path: Path) -> Iterator[UInt8[np.ndarray, "h w"]]:
    """Yield the labels of every frame of a folder of palette or gray PNGs, or of a gray video.

    Raises: NoInputError if nothing is there, DataError if it holds no masks.
    """
    if path.is_dir():
        files = sorted(path.glob("*.png"), key=_number_in_name)
        if not files:
            raise NoInputError(f"{printable(path)} has no PNG files in it.", "Check the path.")
        yield from map(read_mask, files)
    elif path.is_file():
        yield from _read_gray_video(path)
    else:
        raise NoInputError(f"There are no masks at {printable(path)}.", "Check the path.")


def _number_in_name(path: Path) -> tuple[int, str]:
    digits = re.findall(r"\d+", path.stem)
    return (int(digits[-1]) if digits else -1, path.name)


def read_mask(path: Path) -> UInt8[np.ndarray, "h w"]:
    """The labels of one palette or gray PNG. Raises DataError for anything else."""
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise DataError(
                    f"{printable(path)} is a {image.mode} image, not a mask.",
                    "Masks are palette or gray PNGs.",
                )
            return np.array(image)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise DataError(
            f"{printable(path)} cannot be decoded: {error}.", "Export the masks again."
        ) from error


def _read_gray_video(path: Path) -> Iterator[UInt8[np.ndarray, "h w"]]:
    try:
        with av.open(path) as container:
            if not container.streams.video or container.streams.video[0].format.name != "gray":
                raise DataError(f"{printable(path)} is no gray video.", "Export the masks again.")
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="gray")
    except (FFmpegError, UnicodeDecodeError) as error:
        raise DataError(
            f"{printable(path)} cannot be decoded: {error}.", "Export the masks again."
        ) from error
