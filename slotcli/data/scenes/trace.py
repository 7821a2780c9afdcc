"""Which solid each ray meets first, and which rays meet one at all.

Bounding spheres are tested for all rays and solids at once; what is left are compact pairs, in the
order of the solids, so that those of one shape lie together.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from slotcli.data.scenes.shapes import SHAPES


@dataclass(frozen=True)
class Solids:
    """Poses of k solids in f frames; solids of one shape stand together."""

    shapes: list[str]  # of each solid
    dims: Float[Tensor, "3 k"]
    radius: Float[Tensor, " k"]  # of the bounding sphere
    centre: Float[Tensor, "f k 3"]
    rotation: Float[Tensor, "f k 3 3"]  # local to world

    def spans(self) -> list[tuple[str, int]]:
        """Each shape with the number of the solid after its last one."""
        return [
            (name, i + 1)
            for i, name in enumerate(self.shapes)
            if i + 1 == len(self.shapes) or self.shapes[i + 1] != name
        ]


@dataclass(frozen=True)
class Pairs:
    """Rays with solids they may meet, sorted by solid; rays are numbered over all frames."""

    solid: Int64[Tensor, " p"]
    pose: Int64[Tensor, " p"]  # row in the flat list of the solids of all frames
    ray: Int64[Tensor, " p"]

    @staticmethod
    def of(near: Bool[Tensor, "f k n"]) -> "Pairs":
        frames, count, rays = near.shape
        solid, frame, place = near.transpose(0, 1).nonzero(as_tuple=True)
        return Pairs(solid, frame * count + solid, frame * rays + place)

    def pick(self, which: Tensor) -> "Pairs":
        return Pairs(self.solid[which], self.pose[which], self.ray[which])


@dataclass(frozen=True)
class Hits:
    """Rays that meet a solid."""

    pairs: Pairs
    distance: Float[Tensor, " p"]
    point: Float[Tensor, "3 p"]  # in the solid's frame
    rotation: Float[Tensor, "3 3 p"]


def _into_frames(
    solids: Solids, pairs: Pairs, origin: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Rays [3, p] in their solids' frames, and those frames' rotations."""
    rotation = solids.rotation.flatten(0, 1).flatten(1).T.index_select(1, pairs.pose)
    rotation = rotation.unflatten(0, (3, 3))
    away = origin - solids.centre.flatten(0, 1).T.index_select(1, pairs.pose)
    return (
        (rotation * away[:, None]).sum(0),
        (rotation * direction[:, None]).sum(0),
        rotation,
    )


def _enter(solids: Solids, pairs: Pairs, origin: Tensor, direction: Tensor) -> Tensor:
    spans = solids.spans()
    ends = torch.tensor([end for _, end in spans], device=pairs.solid.device)
    stops = torch.searchsorted(pairs.solid, ends).tolist()
    dims = solids.dims.index_select(1, pairs.solid)
    found, start = [], 0
    for (name, _), stop in zip(spans, stops, strict=True):
        part = slice(start, stop)
        if stop > start:
            found.append(SHAPES[name].enter(origin[:, part], direction[:, part], dims[:, part]))
        start = stop
    return torch.cat(found) if found else origin.new_empty(0)


def first_hits(
    solids: Solids, origin: Float[Tensor, "f 3"], direction: Float[Tensor, "f 3 n"]
) -> Hits:
    """The nearest solid of every ray that meets one; all rays of a frame start at one point."""
    frames, _, rays = direction.shape
    to_centre = solids.centre - origin[:, None]
    along = to_centre @ direction
    spare = (to_centre * to_centre).sum(-1, keepdim=True) - solids.radius[:, None] ** 2
    pairs = Pairs.of((along > 0) & (along * along > spare))
    frame = pairs.ray // rays
    starts = origin.T.index_select(1, frame)
    ways = direction.transpose(0, 1).flatten(1).index_select(1, pairs.ray)
    local_origin, local_direction, rotation = _into_frames(solids, pairs, starts, ways)
    distance = _enter(solids, pairs, local_origin, local_direction)
    nearest = torch.full((frames * rays,), math.inf, device=direction.device)
    nearest = nearest.scatter_reduce(0, pairs.ray, distance, "amin")
    first = ((distance == nearest[pairs.ray]) & (distance < math.inf)).nonzero()[:, 0]
    reached = distance[first]
    point = local_origin[:, first] + local_direction[:, first] * reached
    return Hits(pairs.pick(first), reached, point, rotation[:, :, first])


def surface_normals(solids: Solids, hits: Hits) -> Float[Tensor, "3 p"]:
    """Outward unit normals in the solids' frames."""
    spans = solids.spans()
    ends = torch.tensor([end for _, end in spans], device=hits.distance.device)
    stops = torch.searchsorted(hits.pairs.solid, ends).tolist()
    dims = solids.dims.index_select(1, hits.pairs.solid)
    found, start = [], 0
    for (name, _), stop in zip(spans, stops, strict=True):
        part = slice(start, stop)
        found.append(SHAPES[name].normal(hits.point[:, part], dims[:, part]))
        start = stop
    normal = torch.cat(found, 1)
    return normal / normal.square().sum(0).sqrt().clamp(min=1e-9)


def blocked(
    solids: Solids, near: Bool[Tensor, "f k n"], origin: Float[Tensor, "3 r"], direction: Tensor
) -> Bool[Tensor, " r"]:
    """Whether rays (numbered over all frames, Float[Tensor, "3 r"]) meet a solid near them."""
    pairs = Pairs.of(near)
    local_origin, local_direction, _ = _into_frames(
        solids,
        pairs,
        origin.index_select(1, pairs.ray),
        direction.index_select(1, pairs.ray),
    )
    distance = _enter(solids, pairs, local_origin, local_direction)
    shade = torch.zeros(origin.shape[1], dtype=torch.bool, device=origin.device)
    shade[pairs.ray[distance < math.inf]] = True
    return shade
