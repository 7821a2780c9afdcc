"""What frames carry beside their pixels."""

from enum import Enum
from typing import Any

import av
from av.sidedata.sidedata import Type


def _unnamed(kind: type[Enum], value: object) -> Any:
    """A member for a kind of side data that FFmpeg knows and this PyAV does not."""
    member = object.__new__(kind)
    member._name_ = f"UNNAMED_{value}"
    member._value_ = value
    return member


# PyAV names all side data of a frame at once, and raises ValueError at the first kind that it does
# not know: EXIF, for one, up to 18. There is no other way to the display matrix.
type.__setattr__(Type, "_missing_", classmethod(_unnamed))


def display_matrix(frame: av.VideoFrame) -> bytes | None:
    """The frame's AV_FRAME_DATA_DISPLAYMATRIX, which EXIF orientations become too; or None."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return None if matrix is None else bytes(matrix)
