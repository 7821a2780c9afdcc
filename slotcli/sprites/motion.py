"""Motion as functions of time, so that any frame can be rendered independently.

Lengths are in units of the root of a frame's area, times in frames, angles in radians.
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float

# (a, b, c, d, e, f) maps x to a x + b y + c, and y to d x + e y + f. Plain numbers, because with
# dozens per frame the overhead of NumPy would exceed the computation.
Affine = tuple[float, float, float, float, float, float]


def product(second: Affine, first: Affine) -> Affine:
    """Composition: applies `first`, then `second`."""
    a, b, c, d, e, f = second
    g, h, i, j, k, m = first
    return (
        a * g + b * j,
        a * h + b * k,
        a * i + b * m + c,
        d * g + e * j,
        d * h + e * k,
        (d * i + e * m + f),
    )


@dataclass(frozen=True)
class Path:
    """Translation, rotation and scaling between the times `start` and `stop`, static outside.

    `x`, `y` is the position at the time `origin`.
    """

    x: float
    y: float
    angle: float = 0.0
    origin: float = 0.0
    velocity: tuple[float, float] = (0.0, 0.0)
    acceleration: tuple[float, float] = (0.0, 0.0)
    sway: tuple[float, float] = (0.0, 0.0)  # amplitude
    spin: float = 0.0  # per frame
    swing: float = 0.0  # amplitude of an angle
    growth: float = 0.0  # logarithm of the scale, per frame
    frequency: float = 0.0  # of sway and swing, radians per frame
    phase: float = 0.0
    start: float = -np.inf
    stop: float = np.inf

    def __post_init__(self) -> None:
        # Converts NumPy scalars, which are several times slower, to plain numbers.
        for name, value in vars(self).items():
            plain = (float(value[0]), float(value[1])) if isinstance(value, tuple) else float(value)
            object.__setattr__(self, name, plain)

    def matrix(self, time: int | float) -> Affine:
        """Map from its own coordinates to its parent's at a time."""
        since = min(max(time, self.start), self.stop) - self.origin
        wave = math.sin(self.frequency * since + self.phase) if self.frequency else 0.0
        x = self.x + since * (self.velocity[0] + since * self.acceleration[0] / 2)
        y = self.y + since * (self.velocity[1] + since * self.acceleration[1] / 2)
        angle = self.angle + self.spin * since + self.swing * wave
        scale = math.exp(min(max(self.growth * since, -1.5), 1.0))
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        return cos, -sin, x + self.sway[0] * wave, sin, cos, y + self.sway[1] * wave


@dataclass(frozen=True)
class Deformation:
    """A smooth, time-dependent displacement field, such as of cloth or bodies.

    `waves` are displacements on a coarse grid, as fractions of the image's longer side.
    """

    waves: Float[np.ndarray, "k g g 2"]
    frequencies: Float[np.ndarray, " k"]
    phases: Float[np.ndarray, " k"]

    def displaced(self, picture: np.ndarray, time: int | float) -> np.ndarray:
        """The image [h w c], warped by the displacement at a time."""
        height, width = picture.shape[:2]
        share = np.sin(self.frequencies * time + self.phases)
        coarse = np.tensordot(share, self.waves, 1).astype(np.float32) * max(height, width)
        moved = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        columns = moved[..., 0] + np.arange(width, dtype=np.float32)
        rows = moved[..., 1] + np.arange(height, dtype=np.float32)[:, None]
        return cv2.remap(picture, columns, rows, cv2.INTER_LINEAR)


def draw_path(
    rng: np.random.Generator, x: float, y: float, frames: int, *, lively: float = 1.0
) -> Path:
    """Sample a path through (x, y) near the middle of a clip.

    It is static, steady, swaying, or starts and stops; `lively` scales speeds, 0 is static.
    """
    middle = frames / 2 + rng.normal(0, 0.15) * frames
    path = Path(x, y, origin=middle)
    kind = rng.random()
    if kind < 0.3 or not lively:
        return path
    speed = lively * np.exp(rng.uniform(np.log(0.002), np.log(0.05)))
    heading = rng.uniform(0, 2 * np.pi)
    velocity = speed * np.cos(heading), speed * np.sin(heading) * rng.uniform(0.3, 1)
    path = replace(
        path,
        velocity=velocity,
        spin=rng.normal(0, 0.05) * lively if rng.random() < 0.5 else 0.0,
        growth=rng.normal(0, 0.015) * lively if rng.random() < 0.4 else 0.0,
    )
    if kind < 0.5:
        push = rng.normal(0, 0.0015, 2) * lively
        path = replace(path, acceleration=(float(push[0]), float(push[1])))
    elif kind < 0.75:
        sway = rng.normal(0, 0.04, 2) * lively
        path = replace(
            path,
            velocity=(velocity[0] * 0.3, velocity[1] * 0.3),
            spin=0.0,
            sway=(float(sway[0]), float(sway[1])),
            swing=rng.normal(0, 0.2) * lively,
            frequency=rng.uniform(0.08, 0.7),
            phase=rng.uniform(0, 2 * np.pi),
        )
    if rng.random() < 0.25:
        stop = rng.uniform(0.2, 0.9) * frames
        path = replace(path, start=stop - rng.uniform(0.2, 1) * frames, stop=stop)
    return path


def draw_crossing(
    rng: np.random.Generator, width: float, height: float, frames: int, lively: float = 1.0
) -> Path:
    """Sample a path that crosses the border of a frame of these sides during the clip."""
    side = rng.integers(4)
    x = (rng.uniform(0, width), 0.0, rng.uniform(0, width), width)[side]
    y = (0.0, rng.uniform(0, height), height, rng.uniform(0, height))[side]
    speed = lively * np.exp(rng.uniform(np.log(0.008), np.log(0.06)))
    towards = np.arctan2(height / 2 - y, width / 2 - x) + rng.normal(0, 0.4)
    way = speed * rng.choice([-1, 1])
    return Path(
        x,
        y,
        origin=rng.uniform(0.15, 0.85) * frames,
        velocity=(way * np.cos(towards), way * np.sin(towards)),
        spin=rng.normal(0, 0.04) if rng.random() < 0.4 else 0.0,
    )


def draw_deformation(rng: np.random.Generator, strength: float = 0.05) -> Deformation:
    """Sample two waves of low frequency in space and time."""
    grid = int(rng.integers(3, 6))
    return Deformation(
        rng.normal(0, strength * rng.uniform(0.2, 1), (2, grid, grid, 2)),
        rng.uniform(0.05, 0.6, 2),
        rng.uniform(0, 2 * np.pi, 2),
    )
