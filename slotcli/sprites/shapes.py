"""Outlines of sprites: closed shapes, regions at a border, parts of limbs."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Points = Float[np.ndarray, "n 2"]
_SUBPIXEL_BITS = 4


def fill(points: np.ndarray, height: int, width: int) -> UInt8[np.ndarray, "h w"]:
    """Antialiased mask of the inside of an outline given in pixels (x, y)."""
    mask = np.zeros((height, width), np.uint8)
    corners = np.round((points - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    return mask


def closed_shape(rng: np.random.Generator) -> np.ndarray:
    """Outline of a blob, polygon, box or ellipse within the unit square around 0."""
    kind = rng.random()
    flat = rng.uniform(0.3, 1)
    if kind < 0.45:
        return _blob(rng)
    if kind < 0.65:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 8))))
        return _fitted(np.stack([np.cos(angles), np.sin(angles)], 1))
    if kind < 0.85:
        return rounded_box(rng, flat)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([0.48 * np.cos(angles), 0.48 * flat * np.sin(angles)], 1)


def rounded_box(rng: np.random.Generator, flat: float) -> np.ndarray:
    """A box of sides 1 and `flat`, a superellipse between sharp and round, sometimes skewed."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    power = rng.choice([0.08, 0.2, 0.45])
    x = np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** power
    y = np.sign(np.sin(angles)) * np.abs(np.sin(angles)) ** power
    skew = rng.normal(0, 0.2)
    return _fitted(np.stack([x + skew * y, flat * y * (1 + rng.normal(0, 0.15) * x)], 1))


def region(rng: np.random.Generator, width: float, height: float) -> np.ndarray:
    """Outline of a large region that crosses the border of a frame of these sides.

    A half plane with a straight or wavy border, a polygon at a border (table, wall, door), or a
    band across the frame.
    """
    kind = rng.random()
    if kind < 0.45:
        outline = _half_plane(rng)
    elif kind < 0.85:
        outline = _polygon_at_border(rng)
    else:
        outline = _band(rng)
    # Most often at the bottom, where tables and floors are.
    for _ in range(int(rng.choice([0, 0, 0, 1, 2, 3]))):
        outline = np.stack([1 - outline[:, 1], outline[:, 0]], 1)
    return outline * (width, height)


def tapering(length: float, start: float, end: float, swell: float = 0.0) -> np.ndarray:
    """Outline of a limb segment along x from 0 to `length`, rounded at both ends."""
    along = np.linspace(0, 1, 9)
    half = (start + (end - start) * along) / 2 * (1 + swell * np.sin(np.pi * along))
    turn = np.linspace(np.pi / 2, -np.pi / 2, 7)
    near = np.stack([-start / 2 * np.cos(turn), -start / 2 * np.sin(turn)], 1)
    far = np.stack([length + end / 2 * np.cos(turn), end / 2 * np.sin(turn)], 1)
    lower = np.stack([along * length, half], 1)
    upper = np.stack([along * length, -half], 1)[::-1]
    return np.concatenate([lower, far, upper, near])


def _blob(rng: np.random.Generator) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    orders = np.arange(1, 6)[:, None]
    waves = np.cos(orders * angles + rng.uniform(0, 2 * np.pi, (5, 1)))
    radius = 1 + (rng.normal(0, 0.24, (5, 1)) / orders * waves).sum(0)
    radius = np.clip(radius, 0.25, None)
    flat = rng.uniform(0.45, 1)
    return _fitted(np.stack([radius * np.cos(angles), flat * radius * np.sin(angles)], 1))


def _half_plane(rng: np.random.Generator) -> np.ndarray:
    along = np.linspace(-0.6, 1.6, 34)
    level = rng.uniform(0.25, 0.88) + rng.normal(0, 0.2) * (along - 0.5)
    if rng.random() < 0.5:
        for order in (1, 2, 4, 7):
            wave = np.sin(2 * np.pi * order * along + rng.uniform(0, 2 * np.pi))
            level = level + rng.normal(0, 0.07 / order) * wave
    border = np.stack([along, level], 1)
    return np.concatenate([border, [[1.6, 1.6], [-0.6, 1.6]]])


def _polygon_at_border(rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.5:  # a table seen from above its edge: a trapezium that leaves the frame
        top, middle = rng.uniform(0.35, 0.85), rng.uniform(0.1, 0.9)
        near, far = rng.uniform(0.25, 0.9), rng.uniform(0.1, 0.6)
        tilt = rng.normal(0, 0.06)
        return np.array(
            [
                [middle - far, top - tilt],
                [middle + far, top + tilt],
                [middle + far + near, 1.6],
                [middle - far - near, 1.6],
            ]
        )
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 8))))
    reach = rng.uniform(0.3, 0.75) * np.array([rng.uniform(0.6, 1.4), 1])
    centre = np.array([rng.uniform(0, 1), rng.uniform(0.85, 1.1)])
    return centre + reach * np.stack([np.cos(angles), np.sin(angles)], 1)


def _band(rng: np.random.Generator) -> np.ndarray:
    """A post, beam or edge of a wall."""
    place, half = rng.uniform(0.05, 0.95), rng.uniform(0.03, 0.18)
    lean = rng.normal(0, 0.12)
    return np.array(
        [
            [-0.6, place - half - lean],
            [1.6, place - half + lean],
            [1.6, place + half + lean],
            [-0.6, place + half - lean],
        ]
    )


def _fitted(points: np.ndarray) -> np.ndarray:
    """Translates and scales points so that the longer side spans -0.48 to 0.48."""
    low, high = points.min(0), points.max(0)
    return (points - (low + high) / 2) / (high - low).max() * 0.96
