"""Metadata of a clip for the formats of masks."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from slotcli.types import Size

_TAKEN = ("masks", "objects", "alpha")  # folders of other formats


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

    @property
    def frame_folder(self) -> str:
        """Folder of the frames' images; for any name of the clip it is one below the data set's."""
        folder = self.name.replace("/", "_").replace("\\", "_")
        if folder in ("", ".", ".."):
            return "clip"
        return f"{folder}-frames" if folder in _TAKEN else folder

    def frame_file(self, index: int) -> str:
        """Path of a frame's image in a data set, which the format `frames` writes."""
        return f"{self.frame_folder}/{index:05d}.jpg"
