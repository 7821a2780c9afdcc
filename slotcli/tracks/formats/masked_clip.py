"""Metadata of a clip for the formats of masks."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from slotcli.types import Size


@dataclass(frozen=True)
class MaskedClip:
    """`name` is the source's, `size` that of the labels; `time_base` is in seconds per tick.

    Times are the source's in every format except video: an `excerpt` starts at 0 there.
    """

    name: str
    size: Size
    time_base: Fraction
    excerpt: bool = False

    def info(self) -> dict[str, Any]:
        """The `info` section of a JSON file of annotations."""
        return {
            "description": f"Objects that slotcli found in {self.name}",
            "time_base": [self.time_base.numerator, self.time_base.denominator],
        }

    def frame_file(self, index: int) -> str:
        """Path of a frame's image in a data set; the image itself is not written.

        For any name of the clip it is one folder below the data set's.
        """
        folder = self.name.replace("/", "_").replace("\\", "_")
        return f"{'clip' if folder in ('', '.', '..') else folder}/{index:05d}.jpg"
