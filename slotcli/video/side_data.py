"""Side data of frames: the display matrix."""

from enum import Enum
from typing import Any

import av
from av.sidedata.sidedata import Type


def _unnamed(kind: type[Enum], value: object) -> Any:
    """A member for a kind of side data that FFmpeg has but this PyAV lacks."""
    member = object.__new__(kind)
    member._name_ = f"UNNAMED_{value}"
    member._value_ = value
    return member


# PyAV parses all side data of a frame at once, and raises ValueError at the first unknown kind,
# such as EXIF up to version 18. There is no other access to the display matrix.
type.__setattr__(Type, "_missing_", classmethod(_unnamed))


def display_matrix(frame: av.VideoFrame) -> bytes | None:
    """The frame's AV_FRAME_DATA_DISPLAYMATRIX or None; FFmpeg maps EXIF orientation to it too."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return None if matrix is None else bytes(matrix)
