"""Samples one scene: objects, their initial motion, camera, and light."""

import colorsys
import math
from dataclasses import dataclass
from random import Random

import torch
from jaxtyping import Float
from torch import Tensor

from slotcli.scenes.backdrop import Backdrop, plain_backdrop, textured_backdrop
from slotcli.scenes.camera import FIELD_OF_VIEW, CameraPath
from slotcli.scenes.physics import Bodies
from slotcli.scenes.shapes import SHAPES, Dims, Hull
from slotcli.scenes.textures import noise_lattice
from slotcli.scenes.tiers import Tier

STAGE = 2.9  # metres around the origin that are always in view
IN_VIEW = 0.9  # objects start and aim at positions within this fraction of the frame
EVENNESS = 0.7  # 1: equal apparent sizes at all distances, 0: equal true sizes
HULL_DISCS = 12
GYRATION = 0.25  # between a ball's 1/5 and a box's 1/3
DICE = 8  # random numbers per pattern

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


@dataclass(frozen=True)
class Thing:
    """One object in its initial state."""

    shape: str
    dims: Dims
    hull: Hull
    pattern: str
    palette: list[Vector]  # four linear colours
    gloss: float
    position: Vector
    quaternion: Quaternion
    velocity: Vector
    spin: Vector
    friction: float
    restitution: float


@dataclass(frozen=True)
class Light:
    """Linear colours of light, and the camera's tone mapping."""

    to_sun: Vector
    softness: float  # angular radius of the sun, radians
    sun: Vector
    above: Vector  # ambient light from the sky
    below: Vector  # and from the ground
    exposure: float
    saturation: float
    gamma: float


@dataclass(frozen=True)
class Scene:
    things: list[Thing]  # grouped by shape
    camera: CameraPath
    light: Light
    backdrop: Backdrop
    lattice: Float[Tensor, "1 1 d d d"]
    dice: Float[Tensor, "e k"]


def _linear(colour: Vector) -> Vector:
    red, green, blue = (channel**2.2 for channel in colour)
    return red, green, blue


def _colour(rng: Random, saturation: tuple[float, float], value: tuple[float, float]) -> Vector:
    hsv = (rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return _linear(colorsys.hsv_to_rgb(*hsv))


def _palette(rng: Random) -> list[Vector]:
    """Four colours; the second differs from the first in brightness or hue."""
    first = _colour(rng, (0.15, 1.0), (0.25, 1.0))
    while True:
        second = _colour(rng, (0.0, 1.0), (0.1, 1.0))
        if sum(abs(a - b) for a, b in zip(first, second, strict=True)) > 0.5:
            break
    return [
        first,
        second,
        _colour(rng, (0.0, 1.0), (0.1, 1.0)),
        _colour(rng, (0.0, 0.8), (0.0, 1.0)),
    ]


def _random_rotation(rng: Random) -> Quaternion:
    parts = [rng.gauss(0, 1) for _ in range(4)]
    size = math.hypot(*parts)
    w, x, y, z = (part / size for part in parts)
    return w, x, y, z


def _standing_rotation(rng: Random, lying: bool) -> Quaternion:
    """A rotation about the vertical, after tipping the solid's axis to the ground if `lying`."""
    turn = rng.uniform(0, math.tau) / 2
    tip = math.pi / 4 if lying else 0.0
    return (
        math.cos(turn) * math.cos(tip),
        math.cos(turn) * math.sin(tip),
        math.sin(turn) * math.sin(tip),
        math.sin(turn) * math.cos(tip),
    )


def _draw_size(rng: Random, count: int, distance: float) -> float:
    """Radius of a disc at the origin with 1.8 to 9 % of a square frame (less with many objects)."""
    view = 2 * distance * math.tan(FIELD_OF_VIEW / 2)
    share = math.exp(rng.uniform(math.log(0.018), math.log(min(0.09, 0.6 / count))))
    return view * math.sqrt(share / math.pi)


def _somewhere(rng: Random, camera: CameraPath, height: float) -> Vector:
    """A point at this height, uniform over the part of the first frame that shows such points."""
    for _ in range(30):
        edge = IN_VIEW
        seen = camera.point_seen_at(rng.uniform(-edge, edge), rng.uniform(-edge, edge), height)
        if seen:
            return seen
    away, bearing = STAGE * math.sqrt(rng.random()), rng.uniform(0, math.tau)
    return away * math.cos(bearing), away * math.sin(bearing), height


def _free(position: Vector, radius: float, others: list[Thing]) -> bool:
    return all(math.dist(position, other.position) > radius + other.hull.radius for other in others)


def _draw_motion(
    rng: Random, camera: CameraPath, position: Vector, rolling_radius: float | None
) -> tuple[Vector, Vector]:
    """Velocity and spin toward another position in view; flying objects have no rolling radius."""
    target = _somewhere(rng, camera, 0.5)
    toward = target[0] - position[0], target[1] - position[1]
    speed = rng.uniform(1.2, 3.6) / max(math.hypot(*toward), 0.1)
    x, y = toward[0] * speed, toward[1] * speed
    if rolling_radius is None:
        spin = (rng.uniform(-5, 5), rng.uniform(-5, 5), rng.uniform(-5, 5))
        return (x, y, rng.uniform(-1, 2.0)), spin
    rolling = rng.random() / rolling_radius
    return (x, y, 0.0), (-y * rolling, x * rolling, rng.uniform(-2, 2))


def _draw_thing(
    rng: Random, tier: Tier, count: int, camera: CameraPath, others: list[Thing]
) -> Thing:
    name = rng.choice(tier.shapes)
    shape = SHAPES[name]
    dims = shape.draw(rng)
    scale = _draw_size(rng, count, camera.distance)
    scale /= sum(shape.hull(dims).half_extents) / 3

    resting = rng.random() < tier.resting
    grounded = resting or rng.random() < 0.5
    lying = name not in ("cone", "pyramid", "tetrahedron") and rng.random() < 0.4
    quaternion = _standing_rotation(rng, lying) if grounded else _random_rotation(rng)
    lift = 0.0 if grounded else rng.uniform(0.2, 2.0)
    while True:
        place = _somewhere(rng, camera, 0.5 + lift)
        nearness = (camera.depth(place) / camera.distance) ** EVENNESS
        sized = (dims[0] * scale * nearness, dims[1] * scale * nearness, dims[2] * scale * nearness)
        hull = shape.hull(sized)
        floor = hull.half_extents[1 if lying else 2] if grounded else hull.radius
        position = (*place[:2], floor + lift)
        if _free(position, hull.radius, others):
            break
        # Later attempts are smaller, so that objects fit on a full stage.
        scale *= 0.98

    velocity = spin = (0.0, 0.0, 0.0)
    if not resting:
        velocity, spin = _draw_motion(rng, camera, position, floor if grounded else None)
    return Thing(
        name,
        sized,
        hull,
        rng.choice(tier.patterns),
        _palette(rng),
        max(0.0, rng.uniform(-0.3, 0.7)),
        position,
        quaternion,
        velocity,
        spin,
        rng.uniform(0.05, 0.35),
        rng.uniform(0.2, 0.7),
    )


def _draw_light(rng: Random) -> Light:
    height, bearing = math.radians(rng.uniform(28, 75)), rng.uniform(0, math.tau)
    level = math.cos(height)
    to_sun = (level * math.cos(bearing), level * math.sin(bearing), math.sin(height))
    warmth, blueness = rng.uniform(0, 0.35), rng.uniform(-0.1, 0.35)
    sun, ambient = rng.uniform(1.0, 3.0), rng.uniform(0.08, 0.45)
    return Light(
        to_sun,
        rng.uniform(0.01, 0.06),
        (sun, sun * (1 - 0.5 * warmth), sun * (1 - warmth)),
        (ambient * (1 - blueness), ambient * (1 - 0.4 * blueness), ambient),
        (0.5 * ambient, 0.45 * ambient, 0.4 * ambient),
        math.exp(rng.uniform(math.log(0.35), math.log(1.8))),
        rng.uniform(0.8, 1.9),
        rng.uniform(1.4, 2.3),
    )


def _draw_backdrop(rng: Random, tier: Tier, generator: torch.Generator) -> Backdrop:
    if not tier.grounds:
        return plain_backdrop(torch.tensor(_colour(rng, (0.0, 0.6), (0.3, 0.95))))
    first = _colour(rng, (0.05, 0.7), (0.25, 0.9))
    second = _colour(rng, (0.05, 0.7), (0.1, 0.9))
    ground = torch.tensor([first, second, _colour(rng, (0.0, 0.8), (0.1, 0.9))])
    haze = _colour(rng, (0.0, 0.35), (0.5, 1.0))
    zenith = _linear(colorsys.hsv_to_rgb(rng.gauss(0.58, 0.06), rng.uniform(0, 0.8), rng.random()))
    skyline = _colour(rng, (0.1, 0.8), (0.05, 0.6))
    return textured_backdrop(
        rng.choice(tier.grounds), ground, torch.tensor([haze, zenith, skyline]), generator
    )


def draw_scene(seed: int, name: str, tier: Tier) -> Scene:
    """Sample the scene of a seed and tier, deterministically."""
    rng = Random(f"{name}/{seed}")
    generator = torch.Generator().manual_seed(rng.getrandbits(62))
    camera = CameraPath.draw(rng, tier.camera_speed)
    count = rng.randint(*tier.objects)
    things: list[Thing] = []
    for _ in range(count):
        things.append(_draw_thing(rng, tier, count, camera, things))
    order = list(SHAPES)
    things.sort(key=lambda thing: order.index(thing.shape))
    return Scene(
        things,
        camera,
        _draw_light(rng),
        _draw_backdrop(rng, tier, generator),
        noise_lattice(generator),
        torch.rand((DICE, count), generator=generator),
    )


def gather_bodies(scenes: list[Scene], places: int) -> Bodies:
    """Batch the scenes' objects, padded with far-off balls to `places` per scene."""

    def table(rows: list[list]) -> Tensor:
        return torch.tensor(rows, dtype=torch.float64)

    def spare(number: int) -> Thing:
        ball = SHAPES["ellipsoid"].hull((1.0, 1.0, 1.0))
        return Thing(
            "ellipsoid", (1.0, 1.0, 1.0), ball, "plain", [], 0.0, (1e4 + 10.0 * number, 0.0, 1.0),
            (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0, 0.0,
        )  # fmt: skip

    def gyration(hull: Hull) -> Vector:
        x, y, z = (GYRATION * extent * extent for extent in hull.half_extents)
        return y + z, z + x, x + y

    def padded_discs(hull: Hull) -> list[tuple[float, float, float, float]]:
        return hull.discs + [(0.0, 0.0, 0.0, -1.0)] * (HULL_DISCS - len(hull.discs))

    rows = [
        scene.things + [spare(i) for i in range(places - len(scene.things))] for scene in scenes
    ]
    return Bodies(
        position=table([[thing.position for thing in row] for row in rows]),
        quaternion=table([[thing.quaternion for thing in row] for row in rows]),
        velocity=table([[thing.velocity for thing in row] for row in rows]),
        spin=table([[thing.spin for thing in row] for row in rows]),
        mass=table([[math.prod(thing.hull.half_extents) for thing in row] for row in rows]),
        gyration=table([[gyration(thing.hull) for thing in row] for row in rows]),
        friction=table([[thing.friction for thing in row] for row in rows]),
        restitution=table([[thing.restitution for thing in row] for row in rows]),
        radius=table([[thing.hull.radius for thing in row] for row in rows]),
        discs=table([[padded_discs(thing.hull) for thing in row] for row in rows]),
        thickness=table([[thing.hull.thickness for thing in row] for row in rows]),
    )
