"""COCO's JSON masks: run lengths, plain or as a string, and polygons."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco

from slotcli.types import Size


def decode_mask(segmentation: object, size: Size) -> Bool[np.ndarray, "h w"]:
    """The mask of one object in an image of a size.

    Raises ValueError, KeyError, TypeError or OverflowError for an invalid mask of that image.
    Source: COCO API. Run lengths are decoded here because its C code writes out of bounds on
    damaged ones; polygons are rasterised by it, because its rounding is the format's.
    """
    if isinstance(segmentation, Mapping):
        if list(segmentation["size"]) != list(size):
            raise ValueError(f"it is of size {segmentation['size']}, the picture of {list(size)}")
        return _filled(segmentation["counts"], size)
    if isinstance(segmentation, list) and segmentation:
        polygons: list[Any] = [_checked(polygon, size) for polygon in segmentation]
        outlines: Any = coco.frPyObjects(polygons, *size)
        merged: Any = coco.merge(outlines)
        return _filled(merged["counts"].decode(), size)
    raise ValueError("it is neither run lengths nor polygons")


def _filled(counts: str | list[Any], size: Size) -> Bool[np.ndarray, "h w"]:
    lengths = _lengths(counts) if isinstance(counts, str) else [int(count) for count in counts]
    if min(lengths, default=0) < 0 or sum(lengths) != size[0] * size[1]:
        raise ValueError("its runs do not fill the picture")
    # Alternating runs of 0 and 1, in column-major order.
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(size[::-1]).T


def _lengths(counts: str) -> list[int]:
    """Numbers, 5 bits per letter, lowest first, decoded from their differences.

    From the fourth on, each is a difference to the one before the last. Source: COCO API,
    `rleFrString`.
    """
    lengths: list[int] = []
    value = shift = 0
    for letter in counts:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{letter!r} is no letter of run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("its run lengths end within a number")
    return lengths


def _checked(polygon: object, size: Size) -> list[float]:
    """The corners x0, y0, x1, y1, ... of a polygon that stays near the image."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError("a polygon has three corners or more, of two numbers each")
    corners = [float(number) for number in polygon]
    limit = 2 * max(size)
    if not all(math.isfinite(number) and abs(number) <= limit for number in corners):
        raise ValueError("a polygon lies far outside of the picture")
    return corners
