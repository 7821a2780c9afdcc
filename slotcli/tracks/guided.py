"""Labels at a frame's own size, along its edges: a colour guided filter over the soft masks.

He, Sun and Tang 2010 (guided image filtering), with the frame's colours as the guide. As in He and
Sun 2015 (fast guided filter), the filter's coefficients are found at a small size and upsampled.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from slotcli.types import Size

RADIUS = 6  # pixels at the small size, on either side of a window's centre
EPSILON = 3e-4  # variance of a guide from 0 to 1; a window with less is smoothed over
_BAND = 64  # rows labelled at a time: no map of a whole frame is held for each slot
_MAY_WIN = 0.25  # of the leading share, somewhere within reach: other slots are left out

_Plane = Float32[np.ndarray, "h w"]


def guided_winners(
    shares: Float32[np.ndarray, "n i j"],
    frame: UInt8[np.ndarray, "H W 3"],
    size: Size,
    radius: int = RADIUS,
    epsilon: float = EPSILON,
) -> UInt8[np.ndarray, "H W"]:
    """Index of the slot with the greatest filtered share at each pixel of the RGB `frame`.

    The filter's coefficients are found at `size`, in whose pixels `radius` is. Ties go to the first
    slot. At most 255 slots.
    """
    height, width = frame.shape[:2]
    near = _candidates(shares, size, radius)
    guide = _Guide(frame, size, radius, epsilon)
    coefficients = {
        slot: guide.coefficients(shares[slot])
        for slot in np.flatnonzero(near.any(axis=(1, 2))).tolist()
    }
    rows, columns = _Places.of(size[0], height), _Places.of(size[1], width)
    winners = np.empty((height, width), np.uint8)
    for top in range(0, height, _BAND):
        band = slice(top, min(top + _BAND, height))
        cells = np.asarray(near[:, _cells(band, height, near.shape[1])].any(axis=1))
        found = {
            slot: (_pixels(cells[slot], width), own)
            for slot, own in coefficients.items()
            if cells[slot].any()
        }
        if len(found) == 1:
            winners[band] = next(iter(found))
        else:
            _label(winners[band], frame[band], found, rows.part(band), columns)
    return winners


def _cells(pixels: slice, full: int, cells: int) -> slice:
    """The cells of an axis that some of its `full` pixels lie in."""
    return slice(pixels.start * cells // full, (pixels.stop - 1) * cells // full + 1)


def _pixels(present: Bool[np.ndarray, " cells"], full: int) -> slice:
    """The pixels of an axis from the first to the last of some cells."""
    first, last = np.flatnonzero(present)[[0, -1]].tolist()
    count = len(present)
    return slice(first * full // count, min(full, -(-(last + 1) * full // count)))


def _candidates(
    shares: Float32[np.ndarray, "n i j"], size: Size, radius: int
) -> Bool[np.ndarray, "n i j"]:
    """Where a slot may win: it has enough of the leading share no farther than a window reaches."""
    may_win = shares >= _MAY_WIN * shares.max(axis=0)
    rows, columns = (
        1 + -(-radius * cells // pixels)
        for cells, pixels in zip(shares.shape[1:], size, strict=True)
    )
    reach = np.ones((2 * rows + 1, 2 * columns + 1), np.uint8)
    return np.stack([cv2.dilate(own, reach) for own in may_win.astype(np.uint8)]).astype(bool)


class _Guide:
    """What the filter knows of a frame, which all slots share."""

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
        # The inverse of the symmetric matrix, by its adjugate.
        rr_, rg_, rb_ = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
        gg_, gb_, bb_ = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
        scale = 1 / (rr * rr_ + rg * rg_ + rb * rb_)
        self._inverse = [
            [scale * entry for entry in row]
            for row in ((rr_, rg_, rb_), (rg_, gg_, gb_), (rb_, gb_, bb_))
        ]

    def coefficients(self, share: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "4 i j"]:
        """Those of red, green and blue, and the constant, each the mean over its windows."""
        share = cv2.resize(share, self._size[::-1], interpolation=cv2.INTER_LINEAR)
        mean = self._mean(share)
        covariances = [
            self._mean(colour * share) - colour_mean * mean
            for colour, colour_mean in zip(self._colours, self._means, strict=True)
        ]
        weights = [
            _total([entry * own for entry, own in zip(row, covariances, strict=True)])
            for row in self._inverse
        ]
        constant = mean - _total(
            [weight * own for weight, own in zip(weights, self._means, strict=True)]
        )
        return np.stack([self._mean(plane) for plane in (*weights, constant)])

    def _mean(self, plane: _Plane) -> _Plane:
        return cv2.blur(plane, self._window, borderType=cv2.BORDER_REFLECT)


def _total(planes: list[_Plane]) -> _Plane:
    return np.add.reduce(planes)


@dataclass(frozen=True)
class _Places:
    """Where the pixels of an axis lie among coefficients: behind which, and how far."""

    before: Int64[np.ndarray, " pixels"]
    share: Float32[np.ndarray, " pixels"]  # of the way to the next one

    @classmethod
    def of(cls, small: int, full: int) -> "_Places":
        place = np.clip((np.arange(full) + 0.5) * (small / full) - 0.5, 0, small - 1)
        before = np.minimum(place.astype(np.int64), max(0, small - 2))
        return cls(before, (place - before).astype(np.float32))

    def part(self, pixels: slice) -> "_Places":
        return _Places(self.before[pixels], self.share[pixels])

    @property
    def around(self) -> slice:
        """The coefficients that are needed."""
        return slice(int(self.before[0]), int(self.before[-1]) + 2)

    def along(
        self, axis: int, values: Float32[np.ndarray, "k i j"]
    ) -> Float32[np.ndarray, "k _ _"]:
        """Linear interpolation along an axis, which has the coefficients `around`."""
        last = values.take([-1], axis)
        steps = np.diff(values, axis=axis, append=last)
        index = self.before - self.before[0]
        found = steps.take(index, axis, mode="clip")
        found *= self.share if axis == 2 else self.share[:, None]
        found += values.take(index, axis, mode="clip")
        return found


def _label(
    winners: UInt8[np.ndarray, "h w"],
    frame: UInt8[np.ndarray, "h w 3"],
    found: dict[int, tuple[slice, Float32[np.ndarray, "4 i j"]]],
    rows: _Places,
    columns: _Places,
) -> None:
    """Fills in the winners of a band, of slots that may win at some columns of pixels."""
    colours = _colours(frame)
    best = np.full(winners.shape, -np.inf, np.float32)
    for slot, (across, coefficients) in found.items():
        place = columns.part(across)
        wide = place.along(2, coefficients[:, rows.around, place.around])
        *weights, share = rows.along(1, wide)
        for weight, colour in zip(weights, colours, strict=True):
            weight *= colour[:, across]
            share += weight
        np.copyto(winners[:, across], slot, where=share > best[:, across])
        np.maximum(best[:, across], share, out=best[:, across])


def _colours(frame: UInt8[np.ndarray, "h w 3"]) -> list[_Plane]:
    """Red, green and blue, from 0 to 1."""
    return [plane.astype(np.float32) / 255 for plane in cv2.split(frame)]
