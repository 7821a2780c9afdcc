"""strip.png: an overview of a clip, a few frames in order with the overlay below each."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from slotcli.files.writing import whole_file
from slotcli.report.overlay import fit, overlay_frame, shrink
from slotcli.types import Size
from slotcli.video.own_outputs import png_mark

MAX_COLUMNS = 8
THUMBNAIL: Size = (180, 240)
GAP = 4
PAPER = 255  # gray level between the thumbnails
_COMPRESSION = 2  # zlib's; its default, 6, takes three times as long and saves a twentieth


class StripBuilder:
    """Samples evenly spaced frames from a stream of unknown length, in constant memory.

    Every stride-th frame is kept; when twice as many are kept as the strip shows, every other one
    is dropped and the stride doubles.
    """

    def __init__(self, opacity: float) -> None:
        self._opacity = opacity
        self._stride = 1
        self._count = 0
        self._kept: list[UInt8[np.ndarray, "h w 3"]] = []

    def __len__(self) -> int:
        """Number of thumbnails in memory."""
        return len(self._kept)

    def add(self, frame: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"]) -> None:
        """Consider the next frame and its labels."""
        if self._count % self._stride == 0:
            size = fit((labels.shape[0], labels.shape[1]), THUMBNAIL)
            small_frame, small_labels = shrink(frame, labels, size)
            drawn = overlay_frame(small_frame, small_labels, self._opacity)
            gap = np.full((GAP, size[1], 3), PAPER, dtype=np.uint8)
            self._kept.append(np.concatenate([small_frame, gap, drawn]))
            if len(self._kept) == 2 * MAX_COLUMNS:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._count += 1

    def write(self, path: Path) -> None:
        """Write the strip, at most 8 columns, as a PNG; a clip needs at least one frame.

        Raises: OutputError and its kin.
        """
        columns = min(MAX_COLUMNS, len(self._kept))
        chosen = np.rint(np.linspace(0, len(self._kept) - 1, columns)).astype(int)
        height, width, _ = self._kept[0].shape
        strip = np.full((height, columns * (width + GAP) - GAP, 3), PAPER, dtype=np.uint8)
        for column, index in enumerate(chosen):
            left = column * (width + GAP)
            strip[:, left : left + width] = self._kept[index]
        with whole_file(path) as file:
            image = Image.fromarray(strip)
            image.save(file, format="PNG", pnginfo=png_mark(), compress_level=_COMPRESSION)
