"""Ray casting: the first solid that each ray hits, and shadow rays.

Bounding spheres are tested for all rays and solids at once; the remaining candidates are compact
pairs in the order of the solids, so that pairs of one shape are contiguous.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from slotcli.scenes.shapes import SHAPES, Shape

MISSED = -1


@dataclass(frozen=True)
class Solids:
    """Poses of k solids in f frames; solids of one shape are contiguous."""

    shapes: list[str]  # of each solid
    dims: Float[Tensor, "3 k"]
    radius: Float[Tensor, " k"]  # of the bounding sphere
    centre: Float[Tensor, "f k 3"]
    rotation: Float[Tensor, "f k 3 3"]  # local to world

    def spans(self) -> list[tuple[str, int]]:
        """Each shape with the index after its last solid."""
        return [
            (name, i + 1)
            for i, name in enumerate(self.shapes)
            if i + 1 == len(self.shapes) or self.shapes[i + 1] != name
        ]


@dataclass(frozen=True)
class Pairs:
    """Pairs of a ray and a solid that it may hit, sorted by solid; ray indices span all frames."""

    solid: Int64[Tensor, " p"]
    pose: Int64[Tensor, " p"]  # row in the flat list of the solids of all frames
    ray: Int64[Tensor, " p"]

    @staticmethod
    def of(near: Bool[Tensor, "f k n"]) -> "Pairs":
        _, count, rays = near.shape
        solid, frame, ray = near.transpose(0, 1).nonzero(as_tuple=True)
        return Pairs(solid, frame * count + solid, frame * rays + ray)

    def pick(self, which: Tensor) -> "Pairs":
        return Pairs(
            self.solid.index_select(0, which),
            self.pose.index_select(0, which),
            self.ray.index_select(0, which),
        )


@dataclass(frozen=True)
class Hits:
    """Rays that hit a solid, and their intersections."""

    pairs: Pairs
    point: Float[Tensor, "3 p"]  # in the solid's frame
    rotation: Float[Tensor, "3 3 p"]

    def world_point(self, solids: Solids) -> Float[Tensor, "3 p"]:
        centre = solids.centre.flatten(0, 1).T.index_select(1, self.pairs.pose)
        return (self.rotation * self.point).sum(1) + centre

    def world_normal(self, local: Float[Tensor, "3 p"]) -> Float[Tensor, "3 p"]:
        return (self.rotation * local).sum(1)


def _rotations(solids: Solids, pairs: Pairs) -> Float[Tensor, "3 3 p"]:
    table = solids.rotation.flatten(0, 1).flatten(1).T
    return table.index_select(1, pairs.pose).unflatten(0, (3, 3))


def _into_frames(
    solids: Solids, pairs: Pairs, origin: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor]:
    """Rays [3, p] in their solids' frames."""
    rotation = _rotations(solids, pairs)
    away = origin - solids.centre.flatten(0, 1).T.index_select(1, pairs.pose)
    return (rotation * away[:, None]).sum(0), (rotation * direction[:, None]).sum(0)


def _by_shape(solids: Solids, pairs: Pairs) -> Iterator[tuple[Shape, slice]]:
    """Each shape that occurs, with its slice of the pairs."""
    spans = solids.spans()
    ends = torch.tensor([end for _, end in spans], device=pairs.solid.device)
    start = 0
    for (name, _), stop in zip(spans, torch.searchsorted(pairs.solid, ends).tolist(), strict=True):
        if stop > start:
            yield SHAPES[name], slice(start, stop)
        start = stop


def _enter(solids: Solids, pairs: Pairs, origin: Tensor, direction: Tensor) -> Tensor:
    dims = solids.dims.index_select(1, pairs.solid)
    parts = [
        shape.enter(origin[:, part], direction[:, part], dims[:, part])
        for shape, part in _by_shape(solids, pairs)
    ]
    return torch.cat(parts) if parts else origin.new_empty(0)


def first_hits(
    solids: Solids,
    origin: Float[Tensor, "f 3"],
    direction: Float[Tensor, "f 3 n"],
    detailed: int,
) -> tuple[Int64[Tensor, "f n"], Hits]:
    """The nearest solid of every ray (or MISSED), and hits of each frame's first `detailed` rays.

    All rays of a frame start at one point.
    """
    frames, _, rays = direction.shape
    to_centre = solids.centre - origin[:, None]
    along = to_centre @ direction
    spare = (to_centre * to_centre).sum(-1, keepdim=True) - solids.radius[:, None] ** 2
    pairs = Pairs.of((along > 0) & (along * along > spare))
    starts = origin.T.index_select(1, pairs.ray // rays)
    ways = direction.transpose(0, 1).flatten(1).index_select(1, pairs.ray)
    starts, ways = _into_frames(solids, pairs, starts, ways)
    distance = _enter(solids, pairs, starts, ways)

    nearest = torch.full((frames * rays,), math.inf, device=direction.device)
    nearest = nearest.scatter_reduce(0, pairs.ray, distance, "amin")
    seen = (distance == nearest.index_select(0, pairs.ray)) & (distance < math.inf)
    first = seen.nonzero()[:, 0]
    owner = torch.full((frames * rays,), MISSED, device=direction.device)
    owner[pairs.ray.index_select(0, first)] = pairs.solid.index_select(0, first)

    first = (seen & (pairs.ray % rays < detailed)).nonzero()[:, 0]
    pairs, distance = pairs.pick(first), distance.index_select(0, first)
    point = starts.index_select(1, first) + ways.index_select(1, first) * distance
    return owner.view(frames, rays), Hits(pairs, point, _rotations(solids, pairs))


def surface_normals(solids: Solids, hits: Hits) -> Float[Tensor, "3 p"]:
    """Outward unit normals in the solids' frames."""
    dims = solids.dims.index_select(1, hits.pairs.solid)
    parts = [
        shape.normal(hits.point[:, part], dims[:, part])
        for shape, part in _by_shape(solids, hits.pairs)
    ]
    if not parts:
        return hits.point
    normal = torch.cat(parts, 1)
    return normal / normal.square().sum(0).sqrt().clamp(min=1e-9)


def blocked(
    solids: Solids, near: Bool[Tensor, "f k n"], origin: Float[Tensor, "3 r"], direction: Tensor
) -> Bool[Tensor, " r"]:
    """Whether rays (over all frames, Float[Tensor, "3 r"]) hit a solid that is `near` them."""
    pairs = Pairs.of(near)
    local_origin, local_direction = _into_frames(
        solids,
        pairs,
        origin.index_select(1, pairs.ray),
        direction.index_select(1, pairs.ray),
    )
    distance = _enter(solids, pairs, local_origin, local_direction)
    shade = torch.zeros(origin.shape[1], dtype=torch.bool, device=origin.device)
    shade[pairs.ray[distance < math.inf]] = True
    return shade
