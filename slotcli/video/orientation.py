"""Turns coded frames upright, according to their container's display matrix."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from slotcli.types import Size


@dataclass(frozen=True)
class Orientation:
    """One of the eight orientations of a frame: flip it left to right, then rotate it."""

    rotation: int = 0  # degrees counter-clockwise: 0, 90, 180 or 270
    flipped: bool = False

    @staticmethod
    def from_display_matrix(matrix: bytes) -> "Orientation":
        """Reads FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX: nine native int32, (a b u, c d v, x y w).

        A point (x, y), y pointing down, goes to (ax + cy, bx + dy). Angles between quarter turns
        go to the nearest one.
        """
        a, b, _, c, d = (float(v) for v in np.frombuffer(matrix, np.int32, count=5))
        flipped = a * d - b * c < 0
        if flipped:
            a, b = -a, -b
        return Orientation(round(math.degrees(math.atan2(-b, a)) / 90) % 4 * 90, flipped)

    def size(self, coded: Size) -> Size:
        """Upright (height, width) of a coded (height, width)."""
        return coded if self.rotation % 180 == 0 else (coded[1], coded[0])

    def upright(self, picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
        """The frame flipped and rotated; a view if no copy is necessary."""
        flipped = picture[:, ::-1] if self.flipped else picture
        return np.rot90(flipped, self.rotation // 90)
