"""Folders of images: one per object, and the frames themselves."""

from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from slotcli.files.writing import output_errors
from slotcli.tracks.masks import PNG_COMPRESSION, FolderWriter, objects_in
from slotcli.types import Size
from slotcli.video.own_outputs import png_mark


class ObjectMaskWriter(FolderWriter):
    """Writes black and white images `folder`/LABEL/00000.png, ...: white is the object.

    A frame without the object has no file, and an object that never appears has no folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._frame = 0

    def write(
        self,
        labels: UInt8[np.ndarray, "h w"],
        pts: int,
        duration: int,
        picture: UInt8[np.ndarray, "h w 3"] | None = None,
    ) -> None:
        """Write a file per object in the frame. Raises: OutputError and its kin."""
        for label in objects_in(labels):
            path = self._folder / str(label) / f"{self._frame:05d}.png"
            with output_errors(path):
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(labels == label).save(path, compress_level=PNG_COMPRESSION)
        self._frame += 1


class AlphaMaskWriter(FolderWriter):
    """Writes cut-outs: RGBA images `folder`/LABEL/00000.png, ..., straight alpha of 0 or 255.

    They are sequences for video editors, which stop at a gap: an object that appears in any frame
    has an image for every frame, transparent if it is absent.
    """

    def __init__(self, folder: Path, size: Size) -> None:
        super().__init__(folder)
        self._clear = _png(np.zeros((*size, 4), np.uint8))
        self._frame = 0
        self._seen: set[int] = set()

    def write(
        self,
        labels: UInt8[np.ndarray, "h w"],
        pts: int,
        duration: int,
        picture: UInt8[np.ndarray, "h w 3"] | None = None,
    ) -> None:
        """Write a file for every object that has appeared so far.

        Raises: ValueError without a `picture`; OutputError and its kin.
        """
        if picture is None:
            raise ValueError("an object can only be cut out of a picture")
        present = objects_in(labels)
        for label in set(present) - self._seen:
            self._start(label)
        for label in self._seen:
            data = _png(_cut_out(picture, labels == label)) if label in present else self._clear
            self._save(label, self._frame, data)
        self._frame += 1

    def _start(self, label: int) -> None:
        with output_errors(self._folder):
            (self._folder / str(label)).mkdir()
        for frame in range(self._frame):
            self._save(label, frame, self._clear)
        self._seen.add(label)

    def _save(self, label: int, frame: int, data: bytes) -> None:
        path = self._folder / str(label) / f"{frame:05d}.png"
        with output_errors(path):
            path.write_bytes(data)


class FrameWriter(FolderWriter):
    """Writes the source's frames `folder`/00000.jpg, ..., the images that JSON files name.

    JPEG at quality 95 without chroma subsampling: small, and hard to tell from the source.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._frame = 0

    def write(
        self,
        labels: UInt8[np.ndarray, "h w"],
        pts: int,
        duration: int,
        picture: UInt8[np.ndarray, "h w 3"] | None = None,
    ) -> None:
        """Write the next frame. Raises: ValueError without a `picture`; OutputError and its kin."""
        if picture is None:
            raise ValueError("a frame is written from its picture")
        path = self._folder / f"{self._frame:05d}.jpg"
        with output_errors(path):
            Image.fromarray(picture).save(path, quality=95, subsampling=0)
        self._frame += 1


def _cut_out(
    picture: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 4"]:
    opaque = np.full(mask.shape, 255, np.uint8)
    return np.dstack([picture, opaque]) * mask[..., None]


def _png(rgba: UInt8[np.ndarray, "h w 4"]) -> bytes:
    file = BytesIO()
    Image.fromarray(rgba).save(
        file, format="PNG", compress_level=PNG_COMPRESSION, pnginfo=png_mark()
    )
    return file.getvalue()
