"""What formats say of a clip beside its masks."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from slotcli.types import Size


@dataclass(frozen=True)
class MaskedClip:
    """`name` is the source's, `size` that of the labels; `time_base` is seconds a tick.

    Times are the source's in every format but video: that of an `excerpt` begins at 0.
    """

    name: str
    size: Size
    time_base: Fraction
    excerpt: bool = False

    def info(self) -> dict[str, Any]:
        """The head of a JSON file of annotations."""
        return {
            "description": f"Objects that slotcli found in {self.name}",
            "time_base": [self.time_base.numerator, self.time_base.denominator],
        }

    def frame_file(self, index: int) -> str:
        """Where a data set would have the frame as a picture, which nobody writes there.

        Whatever the name, it is one folder below the data set's.
        """
        folder = self.name.replace("/", "_").replace("\\", "_")
        return f"{'clip' if folder in ('', '.', '..') else folder}/{index:05d}.jpg"
