"""Labels at full resolution that follow the frame's edges: a guided filter of the soft masks.

He, Sun and Tang 2010 (guided image filtering), with the frame's colours as the guide. As in He and
Sun 2015 (fast guided filter), the coefficients are computed at a small size and upsampled.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from slotcli.types import Size

RADIUS = 6  # pixels at the small size, on either side of a window's centre
EPSILON = 3e-4  # variance of a guide in [0, 1]; windows with less are smoothed
_BAND = 64  # rows per step, so that no full-size map per slot is in memory
_MAY_WIN = 0.25  # of the maximum over slots, within a window: other slots are skipped

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
    near = _candidates(shares, size, radius)
    guide = _Guide(frame, size, radius, epsilon)
    coefficients = {
        slot: guide.coefficients(shares[slot])
        for slot in np.flatnonzero(near.any(axis=(1, 2))).tolist()
    }
    rows = _Interpolation.of(size[0], height)
    columns = _Interpolation.of(size[1], width)
    winners = np.empty((height, width), np.uint8)
    for top in range(0, height, _BAND):
        band = slice(top, min(top + _BAND, height))
        cells = np.asarray(near[:, _cells(band, height, near.shape[1])].any(axis=1))
        fitted = {
            slot: (_pixels(cells[slot], width), planes)
            for slot, planes in coefficients.items()
            if cells[slot].any()
        }
        if len(fitted) == 1:
            winners[band] = next(iter(fitted))
        else:
            _label(winners[band], frame[band], fitted, rows.part(band), columns)
    return winners


def _cells(pixels: slice, full: int, cells: int) -> slice:
    """The cells of an axis that contain some of its `full` pixels."""
    return slice(pixels.start * cells // full, (pixels.stop - 1) * cells // full + 1)


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
        covariances = [
            self._mean(colour * mask) - colour_mean * mean
            for colour, colour_mean in zip(self._colours, self._means, strict=True)
        ]
        weights = [
            _total([entry * covariance for entry, covariance in zip(row, covariances, strict=True)])
            for row in self._inverse
        ]
        constant = mean - _total(
            [weight * colour_mean for weight, colour_mean in zip(weights, self._means, strict=True)]
        )
        return np.stack([self._mean(plane) for plane in (*weights, constant)])

    def _mean(self, plane: _Plane) -> _Plane:
        return cv2.blur(plane, self._window, borderType=cv2.BORDER_REFLECT)


def _total(planes: list[_Plane]) -> _Plane:
    return np.add.reduce(planes)


@dataclass(frozen=True)
class _Interpolation:
    """Linear interpolation from coefficients to the pixels of an axis: indices and weights."""

    before: Int64[np.ndarray, " pixels"]  # index of the coefficient before each pixel
    weight: Float32[np.ndarray, " pixels"]  # of the next coefficient

    @classmethod
    def of(cls, small: int, full: int) -> "_Interpolation":
        coordinate = np.clip((np.arange(full) + 0.5) * (small / full) - 0.5, 0, small - 1)
        before = np.minimum(coordinate.astype(np.int64), max(0, small - 2))
        return cls(before, (coordinate - before).astype(np.float32))

    def part(self, pixels: slice) -> "_Interpolation":
        return _Interpolation(self.before[pixels], self.weight[pixels])

    @property
    def around(self) -> slice:
        """The coefficients that the pixels need."""
        return slice(int(self.before[0]), int(self.before[-1]) + 2)

    def along(
        self, axis: int, values: Float32[np.ndarray, "k i j"]
    ) -> Float32[np.ndarray, "k _ _"]:
        """Interpolates along an axis that has the coefficients `around`."""
        last = values.take([-1], axis)
        steps = np.diff(values, axis=axis, append=last)
        index = self.before - self.before[0]
        result = steps.take(index, axis, mode="clip")
        result *= self.weight if axis == 2 else self.weight[:, None]
        result += values.take(index, axis, mode="clip")
        return result


def _label(
    winners: UInt8[np.ndarray, "h w"],
    frame: UInt8[np.ndarray, "h w 3"],
    fitted: dict[int, tuple[slice, Float32[np.ndarray, "4 i j"]]],
    rows: _Interpolation,
    columns: _Interpolation,
) -> None:
    """Writes the winners of a band in place; `fitted` has each slot's columns and coefficients."""
    colours = _colours(frame)
    best = np.full(winners.shape, -np.inf, np.float32)
    for slot, (across, coefficients) in fitted.items():
        part = columns.part(across)
        wide = part.along(2, coefficients[:, rows.around, part.around])
        *weights, mask = rows.along(1, wide)
        for weight, colour in zip(weights, colours, strict=True):
            weight *= colour[:, across]
            mask += weight
        np.copyto(winners[:, across], slot, where=mask > best[:, across])
        np.maximum(best[:, across], mask, out=best[:, across])


def _colours(frame: UInt8[np.ndarray, "h w 3"]) -> list[_Plane]:
    """Red, green and blue planes in [0, 1]."""
    return [plane.astype(np.float32) / 255 for plane in cv2.split(frame)]
