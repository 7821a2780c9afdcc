"""Camera motion: pan, zoom, roll and shake, as functions of time."""

import math
from dataclasses import dataclass

import numpy as np

from slotcli.sprites.motion import Affine


@dataclass(frozen=True)
class Camera:
    """Motion about the middle of the frame; all zeros are static. Units are those of `motion`."""

    middle: tuple[float, float]
    origin: float = 0.0
    pan: tuple[float, float] = (0.0, 0.0)
    zoom: float = 0.0
    roll: float = 0.0
    shake: tuple[float, float, float] = (0.0, 0.0, 0.0)  # amplitude of x, y and roll
    phase: float = 0.0

    @property
    def still(self) -> bool:
        return not (any(self.pan) or self.zoom or self.roll or any(self.shake))

    def matrix(self, time: int | float, nearness: float = 1.0) -> Affine:
        """Map from the world to the frame at a time; `nearness` scales pans, for parallax."""
        if self.still:
            return 1.0, 0.0, 0.0, 0.0, 1.0, 0.0
        since = time - self.origin
        # Two frequencies without a common period, because the shake of a hand is not periodic.
        wave = 0.6 * math.sin(1.1 * time + self.phase) + 0.4 * math.sin(
            2.63 * time + 2 * self.phase
        )
        scale = math.exp(_within(self.zoom * since, 0.7))
        angle = _within(self.roll * since, 0.6) + self.shake[2] * wave
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        x, y = self.middle
        across = _within(self.pan[0] * since, 0.8) * nearness + self.shake[0] * wave
        down = _within(self.pan[1] * since, 0.8) * nearness
        down += self.shake[1] * math.sin(1.37 * time + self.phase)
        return cos, -sin, x - cos * x + sin * y + across, sin, cos, y - sin * x - cos * y + down


def _within(value: float, bound: float) -> float:
    return min(max(value, -bound), bound)


def draw_camera(
    rng: np.random.Generator, width: float, height: float, frames: int, *, moving: float
) -> Camera:
    """Sample a camera that moves with probability `moving`."""
    middle = (width / 2, height / 2)
    if rng.random() >= moving:
        return Camera(middle)
    kinds = rng.random(4) < (0.6, 0.4, 0.25, 0.35)
    speed = np.exp(rng.uniform(np.log(0.001), np.log(0.025)))
    heading = rng.uniform(0, 2 * np.pi)
    shake = rng.normal(0, 0.006, 3) * kinds[3]
    return Camera(
        middle,
        origin=frames / 2,
        pan=(kinds[0] * speed * np.cos(heading), kinds[0] * speed * np.sin(heading) * 0.5),
        zoom=rng.normal(0, 0.008) * kinds[1],
        roll=rng.normal(0, 0.006) * kinds[2],
        shake=(float(shake[0]), float(shake[1]), float(shake[2])),
        phase=rng.uniform(0, 2 * np.pi),
    )
