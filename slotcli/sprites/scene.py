"""A clip's scene: a backdrop and objects in front of it, from back to front.

Positions and sizes are in units of the root of the frame's area, x to the right and y down from
the frame's corner; times are frames.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from slotcli.sprites.assets import Objects, Photographs
from slotcli.sprites.camera import Camera
from slotcli.sprites.light import Exposure, Shadow
from slotcli.sprites.motion import Affine, Deformation, Path, product
from slotcli.sprites.sensor import Sensor


@dataclass(frozen=True)
class Assets:
    objects: Objects
    photographs: Photographs


@dataclass
class Sprite:
    """An image that moves rigidly; its alpha is premultiplied.

    `joints` are the paths from the world's coordinates inwards, with its own last: a child moves
    with its parents.
    """

    picture: UInt8[np.ndarray, "h w 4"]
    anchor: tuple[float, float]  # pixel of the image that lies on the path
    unit: float  # length of a pixel
    joints: tuple[Path, ...]
    deformation: Deformation | None = None
    # Mip levels of the image, computed on demand.
    smaller: list[np.ndarray] = field(default_factory=list)

    def matrix(self, time: int | float) -> Affine:
        """Map from pixels of the image to the world at a time."""
        unit, (x, y) = self.unit, self.anchor
        matrix: Affine = (unit, 0.0, -x * unit, 0.0, unit, -y * unit)
        for joint in reversed(self.joints):
            matrix = product(joint.matrix(time), matrix)
        return matrix


@dataclass
class Thing:
    """One object: its sprites, from back to front, have one label."""

    sprites: list[Sprite]
    shadow: Shadow | None = None
    nearness: float = 1.0


@dataclass
class Scene:
    """`backdrop` is background; the objects in `things` have labels 1, 2, ... in order."""

    backdrop: Sprite
    things: list[Thing]
    camera: Camera
    exposure: Exposure
    sensor: Sensor


@dataclass(frozen=True)
class Stage:
    """Parameters for sampling a scene: the frame's sides in units, resolution, the clip."""

    width: float
    height: float
    pixels: float  # per unit
    frames: int
    assets: Assets
