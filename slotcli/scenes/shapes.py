"""Solids in their own frame: ray intersection, surface normals, and convex hulls.

Every function works on compact pairs of one ray and one solid: `origin`, `direction` and `point`
are Float[Tensor, "3 p"] in the solid's frame, `dims` is Float[Tensor, "3 p"], the three parameters
of a solid within its family. Directions are unit vectors, so distances are world distances.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

Dims = tuple[float, float, float]

ROUNDED_STEPS, TORUS_STEPS = 12, 32  # 1 or 2 rays in a thousand do not reach the surface
ON_SURFACE = 5e-3
TINY = 1e-9


@dataclass(frozen=True)
class Hull:
    """Collision shape: the convex hull of horizontal discs (x, y, z, radius), thickened.

    It is the Minkowski sum of that hull and an ellipsoid with the given semi-axes. A corner is a
    disc of radius 0.
    """

    discs: list[tuple[float, float, float, float]]
    thickness: Dims = (0.0, 0.0, 0.0)

    @property
    def half_extents(self) -> Dims:
        x, y, z = self.thickness
        return (
            x + max(abs(disc[0]) + disc[3] for disc in self.discs),
            y + max(abs(disc[1]) + disc[3] for disc in self.discs),
            z + max(abs(disc[2]) for disc in self.discs),
        )

    @property
    def radius(self) -> float:
        """Radius of the bounding sphere around the origin."""
        reach = max(math.hypot(math.hypot(x, y) + r, z) for x, y, z, r in self.discs)
        return reach + max(self.thickness)


@dataclass(frozen=True)
class Shape:
    """A family of solids: `enter` gives the distance to the surface, or infinity."""

    enter: Callable[[Tensor, Tensor, Tensor], Tensor]
    normal: Callable[[Tensor, Tensor], Tensor]
    hull: Callable[[Dims], Hull]
    draw: Callable[[Random], Dims]


def _ahead(distance: Tensor, hit: Tensor) -> Tensor:
    return torch.where(hit & (distance > 0), distance, math.inf)


def _enter_ellipsoid(origin: Tensor, direction: Tensor, dims: Tensor) -> Tensor:
    o, d = origin / dims, direction / dims
    a, b, c = (d * d).sum(0), (o * d).sum(0), (o * o).sum(0) - 1
    root = b * b - a * c
    return _ahead((-b - root.clamp(min=0).sqrt()) / a, root >= 0)


def _slab(origin: Tensor, direction: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Entry and exit distances of the box with these half extents."""
    inverse = 1 / torch.where(direction.abs() < TINY, TINY, direction)
    middle, reach = -origin * inverse, half * inverse.abs()
    return (middle - reach).amax(0), (middle + reach).amin(0)


def _enter_box(origin: Tensor, direction: Tensor, dims: Tensor) -> Tensor:
    near, far = _slab(origin, direction, dims)
    return _ahead(near, near < far)


def _box_normal(point: Tensor, dims: Tensor) -> Tensor:
    scaled = point / dims
    size = scaled.abs()
    return torch.where(size >= size.amax(0), scaled.sign(), 0.0)


def _march(
    distance_to: Callable[[Tensor, Tensor], Tensor],
    origin: Tensor,
    direction: Tensor,
    dims: Tensor,
    half: Tensor,
    steps: int,
) -> Tensor:
    """Sphere tracing (Hart 1996) from the entry into the solid's bounding box."""
    near, far = _slab(origin, direction, half)
    travelled = near.clamp(min=0)
    gap = travelled
    for _ in range(steps):
        gap = distance_to(origin + direction * travelled, dims)
        travelled = travelled + gap
    return _ahead(travelled, (gap < ON_SURFACE) & (travelled < far + ON_SURFACE) & (near < far))


def _rounding(dims: Tensor) -> Tensor:
    return 0.35 * dims.amin(0)


def _rounded_gap(point: Tensor, dims: Tensor) -> Tensor:
    rounding = _rounding(dims)
    outside = (point.abs() - (dims - rounding)).clamp(min=0)
    return (outside * outside).sum(0).sqrt() - rounding


def _enter_rounded(origin: Tensor, direction: Tensor, dims: Tensor) -> Tensor:
    return _march(_rounded_gap, origin, direction, dims, dims, ROUNDED_STEPS)


def _rounded_normal(point: Tensor, dims: Tensor) -> Tensor:
    return point.sign() * (point.abs() - (dims - _rounding(dims))).clamp(min=1e-6)


def _rounded_hull(dims: Dims) -> Hull:
    rounding = 0.35 * min(dims)
    x, y, z = (side - rounding for side in dims)
    return Hull(_corners(_CUBE, (x, y, z)), (rounding, rounding, rounding))


def _torus_gap(point: Tensor, dims: Tensor) -> Tensor:
    from_ring = torch.hypot(point[0], point[1]) - dims[0]
    return torch.hypot(from_ring, point[2]) - dims[1]


def _enter_torus(origin: Tensor, direction: Tensor, dims: Tensor) -> Tensor:
    outer = dims[0] + dims[1]
    half = torch.stack((outer, outer, dims[1]))
    return _march(_torus_gap, origin, direction, dims, half, TORUS_STEPS)


def _torus_normal(point: Tensor, dims: Tensor) -> Tensor:
    keep = 1 - dims[0] / torch.hypot(point[0], point[1]).clamp(min=1e-6)
    return torch.stack((point[0] * keep, point[1] * keep, point[2]))


def _enter_frustum(origin: Tensor, direction: Tensor, dims: Tensor) -> Tensor:
    """Cylinder or cone along z: radius dims[0] at z = -dims[2], dims[1] at z = +dims[2]."""
    bottom, top, half = dims
    middle, slope = (top + bottom) / 2, (top - bottom) / (2 * half)
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    radius, change = middle + slope * oz, slope * dz
    a = dx * dx + dy * dy - change * change
    b = ox * dx + oy * dy - radius * change
    c = ox * ox + oy * oy - radius * radius
    root = b * b - a * c
    spread = root.clamp(min=0).sqrt()
    inverse = 1 / torch.where(a.abs() < TINY, TINY, a)
    nearest = torch.full_like(a, math.inf)
    for side in ((-b - spread) * inverse, (-b + spread) * inverse):
        hit = (root >= 0) & ((oz + side * dz).abs() <= half)
        nearest = torch.minimum(nearest, _ahead(side, hit))
    # The ray can enter only through the cap that faces it.
    facing = torch.where(dz > 0, -half, half)
    cap = (facing - oz) / torch.where(dz.abs() < TINY, TINY, dz)
    x, y = ox + cap * dx, oy + cap * dy
    rim = torch.where(dz > 0, bottom, top)
    return torch.minimum(nearest, _ahead(cap, x * x + y * y <= rim * rim))


def _frustum_normal(point: Tensor, dims: Tensor) -> Tensor:
    bottom, top, half = dims
    slope = (top - bottom) / (2 * half)
    from_axis = torch.hypot(point[0], point[1]).clamp(min=1e-6)
    to_side = (top + bottom) / 2 + slope * point[2] - from_axis
    on_cap = half - point[2].abs() < to_side.abs()
    side = torch.stack((point[0] / from_axis, point[1] / from_axis, -slope))
    zero = torch.zeros_like(slope)
    return torch.where(on_cap, torch.stack((zero, zero, point[2])), side)


def _enter_capsule(origin: Tensor, direction: Tensor, dims: Tensor) -> Tensor:
    """Radius dims[0] about the segment of half length dims[1] along z."""
    radius, half = dims[0], dims[1]
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    a = (dx * dx + dy * dy).clamp(min=TINY)
    b, c = ox * dx + oy * dy, ox * ox + oy * oy - radius * radius
    root = b * b - a * c
    side = (-b - root.clamp(min=0).sqrt()) / a
    height = oz + side * dz
    # Beyond the cylinder the ray can only hit the ball at that end.
    end = torch.where(height > 0, half, -half)
    z = oz - end
    b_ball = b + z * dz
    root_ball = b_ball * b_ball - (c + z * z)
    ball = -b_ball - root_ball.clamp(min=0).sqrt()
    straight = height.abs() <= half
    return _ahead(torch.where(straight, side, ball), torch.where(straight, root, root_ball) >= 0)


def _capsule_normal(point: Tensor, dims: Tensor) -> Tensor:
    return torch.stack((point[0], point[1], point[2] - point[2].clamp(-dims[1], dims[1])))


def _corners(corners: list[Dims], dims: Dims) -> list[tuple[float, float, float, float]]:
    return [(x * dims[0], y * dims[1], z * dims[2], 0.0) for x, y, z in corners]


def _polyhedron(
    planes: list[tuple[float, float, float, float]],
    corners: list[Dims],
    draw: Callable[[Random], Dims],
) -> Shape:
    """Points with a x + b y + c z <= 1 + d for all planes, scaled by dims."""

    def enter(origin: Tensor, direction: Tensor, dims: Tensor) -> Tensor:
        o, d = origin / dims, direction / dims
        near = torch.full_like(o[0], -math.inf)
        far = torch.full_like(o[0], math.inf)
        for a, b, c, offset in planes:
            speed = a * d[0] + b * d[1] + c * d[2]
            room = offset - (a * o[0] + b * o[1] + c * o[2])
            distance = room / torch.where(speed.abs() < TINY, TINY, speed)
            near = torch.where(speed < 0, torch.maximum(near, distance), near)
            far = torch.where(speed < 0, far, torch.minimum(far, distance))
        return _ahead(near, near < far)

    def normal(point: Tensor, dims: Tensor) -> Tensor:
        table = point.new_tensor(planes)
        room = table[:, 3:] - table[:, :3] @ (point / dims)
        return table[:, :3].T.index_select(1, room.argmin(0)) / dims

    return Shape(enter, normal, lambda dims: Hull(_corners(corners, dims)), draw)


def _uniform_dims(*ranges: tuple[float, float]) -> Callable[[Random], Dims]:
    def draw(rng: Random) -> Dims:
        a, b, c = (rng.uniform(low, high) for low, high in ranges)
        return a, b, c

    return draw


def _draw_ball(rng: Random) -> Dims:
    return (1.0, 1.0, 1.0) if rng.random() < 0.5 else _stretched(rng)


def _draw_cylinder(rng: Random) -> Dims:
    radius = rng.uniform(0.5, 1.0)
    return radius, radius, rng.uniform(0.4, 1.2)


_stretched = _uniform_dims((0.6, 1.3), (0.6, 1.3), (0.6, 1.3))
_CUBE: list[Dims] = [(x, y, z) for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)]
_HEXAGON = [(math.cos(math.tau * i / 6), math.sin(math.tau * i / 6)) for i in range(6)]
_APOTHEM = math.sqrt(3) / 2


def _ellipsoid_hull(dims: Dims) -> Hull:
    return Hull([(0.0, 0.0, 0.0, 0.0)], dims)


def _frustum_hull(dims: Dims) -> Hull:
    return Hull([(0.0, 0.0, -dims[2], dims[0]), (0.0, 0.0, dims[2], dims[1])])


def _capsule_hull(dims: Dims) -> Hull:
    ends = [(0.0, 0.0, -dims[1], 0.0), (0.0, 0.0, dims[1], 0.0)]
    return Hull(ends, (dims[0], dims[0], dims[0]))


def _torus_hull(dims: Dims) -> Hull:
    return Hull([(0.0, 0.0, 0.0, dims[0])], (dims[1], dims[1], dims[1]))


def _ellipsoid_normal(point: Tensor, dims: Tensor) -> Tensor:
    return point / (dims * dims)


_octahedron = _polyhedron(
    [(x, y, z, 1.0) for x, y, z in _CUBE],
    [
        (-1.0, 0.0, 0.0),
        (1.0, 0.0, 0.0),
        (0.0, -1.0, 0.0),
        (0.0, 1.0, 0.0),
        (0.0, 0.0, -1.0),
        (0.0, 0.0, 1.0),
    ],
    _uniform_dims((0.8, 1.3), (0.8, 1.3), (0.8, 1.4)),
)
_hexagonal_prism = _polyhedron(
    [
        *((-y, x, 0.0, _APOTHEM) for x, y in _HEXAGON),
        (0.0, 0.0, 1.0, 1.0),
        (0.0, 0.0, -1.0, 1.0),
    ],
    [(x, y, z) for x, y in _HEXAGON for z in (-1.0, 1.0)],
    _uniform_dims((0.6, 1.1), (0.6, 1.1), (0.4, 1.2)),
)
_pyramid = _polyhedron(
    [
        (1.0, 0.0, 0.5, 0.5),
        (-1.0, 0.0, 0.5, 0.5),
        (0.0, 1.0, 0.5, 0.5),
        (0.0, -1.0, 0.5, 0.5),
        (0.0, 0.0, -1.0, 1.0),
    ],
    [(-1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (1.0, -1.0, -1.0), (1.0, 1.0, -1.0), (0.0, 0.0, 1.0)],
    _uniform_dims((0.7, 1.2), (0.7, 1.2), (0.6, 1.2)),
)
_tetrahedron = _polyhedron(
    [(1.0, 1.0, 1.0, 1.0), (1.0, -1.0, -1.0, 1.0), (-1.0, 1.0, -1.0, 1.0), (-1.0, -1.0, 1.0, 1.0)],
    [(-1.0, -1.0, -1.0), (-1.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, -1.0)],
    _uniform_dims((0.8, 1.1), (0.8, 1.1), (0.8, 1.1)),
)

SHAPES: dict[str, Shape] = {
    "ellipsoid": Shape(_enter_ellipsoid, _ellipsoid_normal, _ellipsoid_hull, _draw_ball),
    "box": Shape(_enter_box, _box_normal, lambda dims: Hull(_corners(_CUBE, dims)), _stretched),
    "rounded-box": Shape(_enter_rounded, _rounded_normal, _rounded_hull, _stretched),
    "cylinder": Shape(_enter_frustum, _frustum_normal, _frustum_hull, _draw_cylinder),
    "cone": Shape(
        _enter_frustum,
        _frustum_normal,
        _frustum_hull,
        _uniform_dims((0.7, 1.1), (0.05, 0.4), (0.6, 1.1)),
    ),
    "capsule": Shape(
        _enter_capsule,
        _capsule_normal,
        _capsule_hull,
        _uniform_dims((0.5, 0.8), (0.3, 0.9), (0.0, 0.0)),
    ),
    "torus": Shape(
        _enter_torus,
        _torus_normal,
        _torus_hull,
        _uniform_dims((0.8, 1.0), (0.28, 0.45), (0.0, 0.0)),
    ),
    "octahedron": _octahedron,
    "hexagonal-prism": _hexagonal_prism,
    "pyramid": _pyramid,
    "tetrahedron": _tetrahedron,
}
UNSEEN_SHAPES = ("octahedron", "hexagonal-prism", "pyramid", "tetrahedron")
TRAINING_SHAPES = tuple(name for name in SHAPES if name not in UNSEEN_SHAPES)
