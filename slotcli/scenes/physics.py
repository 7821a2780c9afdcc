"""Rigid-body dynamics above the plane z = 0: falling, bouncing, sliding, rolling, collisions.

All bodies of all clips are simulated at once, with elementwise arithmetic and sums of fixed length
only, so that a clip is bitwise identical whatever the other clips.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

GRAVITY = 9.81
FRAMES_PER_SECOND = 12
STEPS_PER_FRAME = 10
# No restitution below this speed of approach, otherwise bodies would never come to rest.
BOUNCE_SPEED = 0.4
# Corners within this height of the lowest one (for a body of size 1) share the contact.
CONTACT_BAND = 0.03
SPIN_DRAG = 0.8  # per second, for bodies in contact with the ground
EPSILON = 1e-12


@dataclass(frozen=True)
class Bodies:
    """Bodies of b clips, k per clip; lengths in metres, masses in any unit."""

    position: Float[Tensor, "b k 3"]
    quaternion: Float[Tensor, "b k 4"]
    velocity: Float[Tensor, "b k 3"]
    spin: Float[Tensor, "b k 3"]  # radians per second, world frame
    mass: Float[Tensor, "b k"]
    gyration: Float[Tensor, "b k 3"]  # moments of inertia per mass, local frame
    friction: Float[Tensor, "b k"]
    restitution: Float[Tensor, "b k"]
    radius: Float[Tensor, "b k"]  # of the bounding sphere
    discs: Float[Tensor, "b k v 4"]  # the hull's discs; a radius below 0 marks an unused row
    thickness: Float[Tensor, "b k 3"]


def rotation_matrices(quaternion: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 3 3"]:
    """Local-to-world rotation matrices from unit quaternions (w, x, y, z)."""
    w, x, y, z = quaternion.unbind(-1)
    twice_x, twice_y, twice_z = (2 * quaternion[..., 1:]).unbind(-1)
    xx, yy, zz = x * twice_x, y * twice_y, z * twice_z
    xy, xz, yz = x * twice_y, x * twice_z, y * twice_z
    wx, wy, wz = w * twice_x, w * twice_y, w * twice_z
    entries = (
        *(1 - (yy + zz), xy - wz, xz + wy),
        *(xy + wz, 1 - (xx + zz), yz - wx),
        *(xz - wy, yz + wx, 1 - (xx + yy)),
    )
    return torch.stack(entries, -1).unflatten(-1, (3, 3))


def _to_local(rotation: Tensor, vector: Tensor) -> Tensor:
    return (rotation * vector[..., :, None]).sum(-2)


def _to_world(rotation: Tensor, vector: Tensor) -> Tensor:
    return (rotation * vector[..., None, :]).sum(-1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


class World:
    """State of all bodies as a flat list, with their constants."""

    def __init__(self, bodies: Bodies) -> None:
        def flat(field: Tensor) -> Tensor:
            return field.flatten(0, 1).double().clone()

        clips, places = bodies.mass.shape
        self.position, self.quaternion = flat(bodies.position), flat(bodies.quaternion)
        self.velocity, self.spin = flat(bodies.velocity), flat(bodies.spin)
        self.inverse_mass = 1 / flat(bodies.mass)
        self.inverse_gyration = 1 / flat(bodies.gyration)
        self.friction, self.restitution = flat(bodies.friction), flat(bodies.restitution)
        self.radius = flat(bodies.radius)
        discs = flat(bodies.discs)
        self.centres, self.disc_radii = discs[..., :3].contiguous(), discs[..., 3].clamp(min=0)
        self.unused = torch.where(discs[..., 3] < 0, -1e6, 0.0).double()
        self.thickness_squared = flat(bodies.thickness) ** 2
        i, j = torch.triu_indices(places, places, 1)
        offsets = places * torch.arange(clips)[:, None]
        self.first, self.second = (offsets + i).flatten(), (offsets + j).flatten()
        self.reach = self.radius[self.first] + self.radius[self.second]

    def extents(self, direction: Tensor, which: Tensor | None = None):
        """Extents (support functions) of bodies along local directions, and the sum's parts."""
        centres, radii, unused, thickness = (
            table if which is None else table[which]
            for table in (self.centres, self.disc_radii, self.unused, self.thickness_squared)
        )
        level = (direction[..., :2] ** 2).sum(-1).sqrt()
        reaches = (centres * direction[..., None, :]).sum(-1) + radii * level[..., None] + unused
        furthest = reaches.amax(-1)
        swell = ((thickness * direction**2).sum(-1) + EPSILON).sqrt()
        return furthest + swell, reaches, furthest, swell, level

    def collide(self, rotation: Tensor) -> None:
        """Applies frictionless impulses between overlapping bodies along their line of centres."""
        gap = self.position[self.second] - self.position[self.first]
        close = (_dot(gap, gap) < self.reach * self.reach).nonzero()[:, 0]
        if len(close) == 0:
            return
        first, second = self.first[close], self.second[close]
        gap = gap[close]
        distance = (_dot(gap, gap) + EPSILON).sqrt()
        normal = gap / distance[:, None]
        reach_first = self.extents(_to_local(rotation[first], normal), first)[0]
        reach_second = self.extents(_to_local(rotation[second], -normal), second)[0]
        overlap = (reach_first + reach_second - distance).clamp(min=0)
        touching = (overlap > 0).double()
        # A body with several partners divides its impulse among them, to avoid adding energy.
        partners = torch.zeros_like(self.inverse_mass)
        partners.index_add_(0, first, touching).index_add_(0, second, touching)
        share = touching / torch.maximum(partners[first], partners[second]).clamp(min=1)
        approach = _dot(self.velocity[second] - self.velocity[first], normal).clamp(max=0)
        bounce = torch.minimum(self.restitution[first], self.restitution[second])
        bounce = torch.where(approach < -BOUNCE_SPEED, bounce, 0.0)
        lightness = self.inverse_mass[first] + self.inverse_mass[second]
        impulse = (-(1 + bounce) * approach * share / lightness)[:, None] * normal
        self.velocity.index_add_(0, first, -impulse * self.inverse_mass[first][:, None])
        self.velocity.index_add_(0, second, impulse * self.inverse_mass[second][:, None])
        shift = (0.2 * overlap * share / lightness)[:, None] * normal
        self.position.index_add_(0, first, -shift * self.inverse_mass[first][:, None])
        self.position.index_add_(0, second, shift * self.inverse_mass[second][:, None])

    def meet_ground(self, rotation: Tensor, seconds: float) -> None:
        """Applies one impulse with Coulomb friction at each body's contact point."""
        down = -rotation[:, 2]
        extent, reaches, furthest, swell, level = self.extents(down)
        touching = extent > self.position[:, 2]
        band = CONTACT_BAND * self.radius
        weights = (1 - (furthest[:, None] - reaches) / band[:, None]).clamp(min=0)
        weights = weights / weights.sum(-1, keepdim=True)
        point = (weights[..., None] * self.centres).sum(-2)
        point = point + self.thickness_squared * down / swell[:, None]
        rim = (weights * self.disc_radii).sum(-1) / level.clamp(min=CONTACT_BAND)
        point = torch.cat((point[:, :2] + rim[:, None] * down[:, :2], point[:, 2:]), -1)
        arm = _to_world(rotation, point)

        speed = self.velocity + torch.linalg.cross(self.spin, arm)
        fall = speed[:, 2].clamp(max=0)
        bounce = torch.where(fall < -BOUNCE_SPEED, self.restitution, 0.0)
        up = torch.zeros_like(arm)
        up[:, 2] = 1
        push = torch.where(touching, -(1 + bounce) * fall, 0.0) / self._ease(rotation, arm, up)
        self._strike(rotation, arm, push[:, None] * up)

        slip = self.velocity + torch.linalg.cross(self.spin, arm)
        slip[:, 2] = 0
        slip_speed = (_dot(slip, slip) + EPSILON).sqrt()
        along = slip / slip_speed[:, None]
        stop = slip_speed / self._ease(rotation, arm, along)
        drag = torch.minimum(self.friction * push, stop)
        self._strike(rotation, arm, -drag[:, None] * along)

        self.spin = torch.where(touching[:, None], self.spin * (1 - SPIN_DRAG * seconds), self.spin)
        self.position[:, 2] = torch.maximum(self.position[:, 2], extent)

    def _spin_from(self, rotation: Tensor, arm: Tensor, impulse: Tensor) -> Tensor:
        twist = _to_local(rotation, torch.linalg.cross(arm, impulse))
        return _to_world(rotation, twist * self.inverse_gyration)

    def _ease(self, rotation: Tensor, arm: Tensor, direction: Tensor) -> Tensor:
        """Effective inverse mass: speed of the point at the arm per unit impulse (per mass)."""
        spin = self._spin_from(rotation, arm, direction)
        return 1 + _dot(torch.linalg.cross(spin, arm), direction)

    def _strike(self, rotation: Tensor, arm: Tensor, impulse: Tensor) -> None:
        self.velocity = self.velocity + impulse
        self.spin = self.spin + self._spin_from(rotation, arm, impulse)

    def step(self, seconds: float) -> None:
        self.velocity[:, 2] -= GRAVITY * seconds
        self.position = self.position + seconds * self.velocity
        w, x, y, z = self.quaternion.unbind(-1)
        a, b, c = (0.5 * seconds * self.spin).unbind(-1)
        turn = torch.stack(
            (
                -a * x - b * y - c * z,
                a * w + b * z - c * y,
                b * w + c * x - a * z,
                c * w + a * y - b * x,
            ),
            -1,
        )
        quaternion = self.quaternion + turn
        self.quaternion = quaternion / _dot(quaternion, quaternion).sqrt()[:, None]
        rotation = rotation_matrices(self.quaternion)
        self.collide(rotation)
        self.meet_ground(rotation, seconds)


def simulate(
    bodies: Bodies, length: int
) -> tuple[Float[Tensor, "b t k 3"], Float[Tensor, "b t k 4"]]:
    """Positions and quaternions at `length` frames, 1/12 s apart; the first are the given ones."""
    world = World(bodies)
    positions, quaternions = [world.position.clone()], [world.quaternion.clone()]
    for _ in range(length - 1):
        for _ in range(STEPS_PER_FRAME):
            world.step(1 / (FRAMES_PER_SECOND * STEPS_PER_FRAME))
        positions.append(world.position.clone())
        quaternions.append(world.quaternion.clone())
    shape = bodies.mass.shape
    return (
        torch.stack(positions, 1).unflatten(0, shape).transpose(1, 2),
        torch.stack(quaternions, 1).unflatten(0, shape).transpose(1, 2),
    )
