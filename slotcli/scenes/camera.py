"""The camera's position and motion, and the rays of its pixels.

It looks at the origin from a half-sphere shell, as in MOVi (Greff et al. 2022, Kubric).
"""

import math
from dataclasses import dataclass
from random import Random

import torch
from jaxtyping import Float
from torch import Tensor

from slotcli.types import Size

FIELD_OF_VIEW = 0.8576  # radians across the shorter side: focal length 35, sensor 32
NEAREST, FURTHEST = 7.0, 9.0
# Offsets from a pixel's centre: four samples for its colour, and one for its label.
COLOUR_SAMPLES = ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25))
SAMPLES = (*COLOUR_SAMPLES, (0.0, 0.0))

Vector = tuple[float, float, float]


def _on_shell(rng: Random) -> Vector:
    height, bearing = rng.uniform(0.2, 0.85), rng.uniform(0, math.tau)
    away = rng.uniform(NEAREST, FURTHEST)
    level = math.sqrt(1 - height * height)
    return (
        away * level * math.cos(bearing),
        away * level * math.sin(bearing),
        away * height,
    )


@dataclass(frozen=True)
class CameraPath:
    """Motion back and forth on a straight line from `start` at constant speed (0: static)."""

    start: Vector
    direction: Vector
    reach: float  # metres to the turning point
    speed: float  # metres per second

    @staticmethod
    def draw(rng: Random, speed: tuple[float, float]) -> "CameraPath":
        start, end = _on_shell(rng), _on_shell(rng)
        reach = math.dist(start, end)
        x, y, z = ((b - a) / reach for a, b in zip(start, end, strict=True))
        return CameraPath(start, (x, y, z), min(reach, 4.0), rng.uniform(*speed))

    @property
    def distance(self) -> float:
        """Distance from the origin at the start of the clip."""
        return math.hypot(*self.start)

    def point_seen_at(self, right: float, down: float, height: float) -> Vector | None:
        """Intersection of the first frame's ray with the plane z = height, unless too far or near.

        `right` and `down` are -1..1 across the shorter side of the frame.
        """
        x, y, z = self.start
        away, level = self.distance, math.hypot(x, y)
        slope = math.tan(FIELD_OF_VIEW / 2)
        right, down = right * slope, down * slope
        way = (
            -x / away - right * y / level + down * x * z / (away * level),
            -y / away + right * x / level + down * y * z / (away * level),
            -z / away - down * level / away,
        )
        depth = (height - z) / way[2] if way[2] else 0.0
        if not 0.45 * away < depth < 1.8 * away:
            return None
        return (x + depth * way[0], y + depth * way[1], height)

    def depth(self, point: Vector) -> float:
        """Distance from the first frame's camera along its line of sight."""
        toward = sum(a * (a - b) for a, b in zip(self.start, point, strict=True))
        return toward / self.distance

    def positions(self, seconds: Float[Tensor, " t"]) -> Float[Tensor, "t 3"]:
        walked = (seconds * self.speed).remainder(2 * self.reach)
        off = self.reach - (self.reach - walked).abs()
        return torch.tensor(self.start) + off[:, None] * torch.tensor(self.direction)


def rays(position: Float[Tensor, "t 3"], size: Size) -> Float[Tensor, "t 3 s h w"]:
    """Unit directions through the samples of each pixel, for a camera that looks at the origin."""
    height, width = size
    forward = -position / position.norm(dim=-1, keepdim=True)
    level = torch.stack((forward[:, 1], -forward[:, 0], torch.zeros_like(forward[:, 0])), -1)
    right = level / level.norm(dim=-1, keepdim=True)
    down = torch.linalg.cross(forward, right)
    focal = 0.5 * min(size) / math.tan(FIELD_OF_VIEW / 2)
    offset = torch.tensor(SAMPLES, device=position.device)
    y = torch.arange(height, device=position.device) + 0.5 - height / 2 + offset[:, :1]
    x = torch.arange(width, device=position.device) + 0.5 - width / 2 + offset[:, 1:]
    axes = torch.stack((right, down, forward), -1)[..., None, None, None]
    direction = (
        axes[:, :, 0] * (x[:, None, :] / focal)
        + axes[:, :, 1] * (y[:, :, None] / focal)
        + axes[:, :, 2]
    )
    return direction / direction.square().sum(1, keepdim=True).sqrt()
