"""Labels at full resolution that follow the frame's edges: a guided filter of the soft masks.

He, Sun and Tang 2010 (guided image filtering), with the frame's colours as the guide. As in He and
Sun 2015 (fast guided filter), the coefficients are computed at a small size and upsampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from slotcli.types import Size

RADIUS = 6  # pixels at the small size, on either side of a window's centre
EPSILON = 3e-4  # variance of a guide in [0, 1]; windows with less are smoothed
_BAND = 64  # rows per step, so that no full-size map per slot is in memory
_MAY_WIN = 0.25  # of the maximum over slots, within a window: other slots are not filtered
# Where the filtered masks are far apart at the small size, the slots behind are left out: of eight
# real clips, at most 0.004 % of a frame's labels differ from those of all slots everywhere.
_MARGIN = 0.15
_REACH = 2  # pixels at the small size

_Plane = Float32[np.ndarray, "h w"]


def guided_winners(
    shares: Float32[np.ndarray, "n i j"],
    frame: UInt8[np.ndarray, "H W 3"],
    size: Size,
    radius: int = RADIUS,
    epsilon: float = EPSILON,
) -> UInt8[np.ndarray, "H W"]:
    """Index of the slot with the greatest filtered mask at each pixel of the RGB `frame`.

    The filter's coefficients are computed at `size`; `radius` is in its pixels. Ties go to the
    first slot. At most 255 slots.
    """
    height, width = frame.shape[:2]
    guide = _Guide(frame, size, radius, epsilon)
    slots = np.flatnonzero(_candidates(shares, size, radius).any(axis=(1, 2)))
    coefficients = [guide.coefficients(shares[slot]) for slot in slots]
    leading, contested = _leading([guide.mask(planes) for planes in coefficients])
    rows = _Interpolation.of(size[0], height)
    columns = _Interpolation.of(size[1], width)
    small = slots.astype(np.uint8)[leading]
    winners = small.take(columns.nearest, axis=1).take(rows.nearest, axis=0)
    for top in range(0, height, _BAND):
        band = slice(top, min(top + _BAND, height))
        part = rows.part(band)
        near = np.asarray(contested[:, part.nearest[0] : part.nearest[-1] + 1].any(axis=1))
        competing = {
            slot: (_pixels(across, width), planes)
            for slot, across, planes in zip(slots.tolist(), near, coefficients, strict=True)
            if across.any()
        }
        if competing:
            _label(winners[band], frame[band], competing, part)
    return winners


def _leading(
    masks: list[_Plane],
) -> tuple[UInt8[np.ndarray, "h w"], Bool[np.ndarray, "n h w"]]:
    """The slot with the greatest mask at the small size, and each slot that another is close to."""
    greatest, leading = masks[0].copy(), np.zeros(masks[0].shape, np.uint8)
    for index, mask in enumerate(masks[1:], 1):
        np.copyto(leading, index, where=mask > greatest)
        np.maximum(greatest, mask, out=greatest)
    threshold = greatest - _MARGIN
    reach = np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)
    near = np.empty((len(masks), *leading.shape), np.uint8)
    for index, mask in enumerate(masks):
        cv2.dilate((mask >= threshold).view(np.uint8), reach, near[index])
    return leading, near.view(bool) & (near.sum(axis=0, dtype=np.uint8) > 1)


def _pixels(present: Bool[np.ndarray, " cells"], full: int) -> slice:
    """The pixels of an axis from the first to the last of some cells."""
    first, last = np.flatnonzero(present)[[0, -1]].tolist()
    count = len(present)
    return slice(first * full // count, min(full, -(-(last + 1) * full // count)))


def _candidates(
    shares: Float32[np.ndarray, "n i j"], size: Size, radius: int
) -> Bool[np.ndarray, "n i j"]:
    """Positions at which a slot may win: its mask is near the maximum within a window's reach."""
    may_win = shares >= _MAY_WIN * shares.max(axis=0)
    rows, columns = (
        1 + -(-radius * cells // pixels)
        for cells, pixels in zip(shares.shape[1:], size, strict=True)
    )
    reach = np.ones((2 * rows + 1, 2 * columns + 1), np.uint8)
    return np.stack([cv2.dilate(mask, reach) for mask in may_win.astype(np.uint8)]).astype(bool)


class _Guide:
    """Window statistics of a frame, shared by all slots."""

    def __init__(
        self, frame: UInt8[np.ndarray, "H W 3"], size: Size, radius: int, epsilon: float
    ) -> None:
        self._size = size
        self._window = (2 * radius + 1, 2 * radius + 1)
        small = cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_AREA)
        self._colours = _colours(small)
        self._means = [self._mean(plane) for plane in self._colours]
        (rr, rg, rb), (_, gg, gb), (_, _, bb) = (
            [
                self._mean(one * other) - mean * other_mean
                for other, other_mean in zip(self._colours, self._means, strict=True)
            ]
            for one, mean in zip(self._colours, self._means, strict=True)
        )
        rr, gg, bb = rr + epsilon, gg + epsilon, bb + epsilon
        # Inverse of the symmetric matrix by its adjugate.
        rr_, rg_, rb_ = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
        gg_, gb_, bb_ = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
        scale = 1 / (rr * rr_ + rg * rg_ + rb * rb_)
        self._inverse = [
            [scale * entry for entry in row]
            for row in ((rr_, rg_, rb_), (rg_, gg_, gb_), (rb_, gb_, bb_))
        ]

    def coefficients(self, mask: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "4 i j"]:
        """Coefficients of red, green and blue, and the constant, each averaged over windows."""
        mask = cv2.resize(mask, self._size[::-1], interpolation=cv2.INTER_LINEAR)
        mean = self._mean(mask)
        products = (self._mean(colour * mask) for colour in self._colours)
        covariances = [
            product - colour_mean * mean
            for product, colour_mean in zip(products, self._means, strict=True)
        ]
        weights = [_dot(row, covariances) for row in self._inverse]
        planes = (*weights, mean - _dot(weights, self._means))
        averaged = np.empty((len(planes), *self._size), np.float32)
        for index, plane in enumerate(planes):
            self._mean(plane, averaged[index])
        return averaged

    def mask(self, coefficients: Float32[np.ndarray, "4 h w"]) -> Float32[np.ndarray, "h w"]:
        """The filtered mask at the small size."""
        return _filtered(coefficients, self._colours)

    def _mean(self, plane: _Plane, into: _Plane | None = None) -> _Plane:
        return cv2.blur(plane, self._window, into, borderType=cv2.BORDER_REFLECT)


def _dot(one: list[_Plane], other: list[_Plane]) -> _Plane:
    total = one[0] * other[0]
    for left, right in zip(one[1:], other[1:], strict=True):
        total += left * right
    return total


@dataclass(frozen=True)
class _Interpolation:
    """Linear interpolation from coefficients to the pixels of an axis."""

    before: Int64[np.ndarray, " pixels"]  # index of the coefficient before each pixel
    weight: Float32[np.ndarray, " pixels"]  # of the next coefficient
    nearest: Int64[np.ndarray, " pixels"]  # index of the coefficient whose cell has the pixel

    @classmethod
    def of(cls, small: int, full: int) -> "_Interpolation":
        coordinate = np.clip((np.arange(full) + 0.5) * (small / full) - 0.5, 0, small - 1)
        before = np.minimum(coordinate.astype(np.int64), max(0, small - 2))
        weight = (coordinate - before).astype(np.float32)
        return cls(before, weight, np.arange(full) * small // full)

    def part(self, pixels: slice) -> "_Interpolation":
        return _Interpolation(self.before[pixels], self.weight[pixels], self.nearest[pixels])

    @property
    def around(self) -> slice:
        """The coefficients that the pixels need."""
        return slice(int(self.before[0]), int(self.before[-1]) + 2)

    def matrix(self) -> Float32[np.ndarray, "pixels count"]:
        """The weights of the coefficients `around` for each pixel."""
        distance = (
            np.arange(self.before[-1] - self.before[0] + 2)
            - (self.before - self.before[0] + self.weight)[:, None]
        )
        return np.maximum(1 - np.abs(distance), 0).astype(np.float32)


def _label(
    winners: UInt8[np.ndarray, "h w"],
    frame: UInt8[np.ndarray, "h w 3"],
    competing: dict[int, tuple[slice, Float32[np.ndarray, "4 i j"]]],
    rows: _Interpolation,
) -> None:
    """Writes a band's winners in place; `competing` has each slot's columns and coefficients."""
    colours = _colours(frame)
    best = np.full(winners.shape, -np.inf, np.float32)
    down = rows.matrix()
    for slot, (across, coefficients) in competing.items():
        wide = (
            cv2.resize(plane, (winners.shape[1], len(plane)), interpolation=cv2.INTER_LINEAR)
            for plane in coefficients[:, rows.around]
        )
        mask = _filtered([down @ plane[:, across] for plane in wide], colours[:, :, across])
        better = mask > best[:, across]
        np.copyto(winners[:, across], slot, where=better)
        np.copyto(best[:, across], mask, where=better)


def _filtered(
    coefficients: Sequence[_Plane] | Float32[np.ndarray, "4 h w"],
    colours: Float32[np.ndarray, "3 h w"],
) -> _Plane:
    """A mask that is linear in the colours."""
    *weights, constant = coefficients
    mask = constant.copy()
    for weight, colour in zip(weights, colours, strict=True):
        mask = cv2.accumulateProduct(weight, colour, mask)
    return mask


def _colours(frame: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "3 h w"]:
    """Red, green and blue planes in [0, 1]."""
    planes = np.empty((3, *frame.shape[:2]), np.float32)
    for index, plane in enumerate(cv2.split(frame)):
        np.divide(plane, np.float32(255), out=planes[index])
    return planes
