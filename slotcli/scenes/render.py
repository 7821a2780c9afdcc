"""Renders frames and labels of a scene, given its objects' poses."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from slotcli.scenes.camera import COLOUR_SAMPLES, SAMPLES, rays
from slotcli.scenes.scene import Light, Scene
from slotcli.scenes.textures import PATTERNS, palette_colour
from slotcli.scenes.trace import Hits, Solids, blocked, first_hits, surface_normals
from slotcli.types import Clip, Size

COLOURS = len(COLOUR_SAMPLES)
PATTERN_NAMES, PATTERN_LIST = list(PATTERNS), list(PATTERNS.values())
# Rays per batch: as many as fit in a CPU's cache, or as saturate an accelerator.
CPU_RAYS, DEVICE_RAYS = 24_000, 1_500_000


@dataclass(frozen=True)
class _View:
    """Surfaces and colours that the samples of some frames hit."""

    surface: Float[Tensor, "3 f s p"]  # albedo
    beyond: Float[Tensor, "3 f s p"]  # colour of the haze in front, or of the sky
    haze: Float[Tensor, "f s p"]  # fraction of the light that the haze absorbs
    point: Float[Tensor, "3 f s p"]  # in the world

    def copies(self, frames: int) -> "_View":
        """The same view for each of `frames` frames; `beyond` is constant and not copied."""
        return _View(
            self.surface.expand(-1, frames, -1, -1).clone(),
            self.beyond.expand(-1, frames, -1, -1),
            self.haze.expand(frames, -1, -1).clone(),
            self.point.expand(-1, frames, -1, -1).clone(),
        )


class _Renderer:
    """The scene's constants on one device."""

    def __init__(self, scene: Scene, size: Size, device: torch.device) -> None:
        things = scene.things
        self.size, self.device = size, device
        self.shapes = [thing.shape for thing in things]
        self.dims = self._table([thing.dims for thing in things]).T.contiguous()
        self.radius = self._table([thing.hull.radius for thing in things])
        extents = [thing.hull.half_extents for thing in things]
        self.inner_square = self._table([(sum(extent) / 3) ** 2 for extent in extents])
        self.extents = self._table(extents).T.contiguous()
        self.palettes = self._table([thing.palette for thing in things]).permute(2, 1, 0)
        self.palettes = self.palettes.contiguous()
        self.gloss = self._table([thing.gloss for thing in things])
        numbers = [PATTERN_NAMES.index(thing.pattern) for thing in things]
        self.pattern = torch.tensor(numbers).to(device)
        self.patterns_used = sorted(set(numbers))
        self.dice, self.lattice = scene.dice.to(device), scene.lattice.to(device)
        self.backdrop = scene.backdrop.to(device)
        self.light = scene.light
        self.suns = self._sun_directions(scene.light)

    def _table(self, rows: list) -> Tensor:
        return torch.tensor(rows, dtype=torch.float32).to(self.device)

    def _sun_directions(self, light: Light) -> Tensor:
        """Float[Tensor, "s 3"]: one point of the sun's disc per colour sample."""
        to_sun = torch.tensor(light.to_sun)
        side = torch.linalg.cross(to_sun, torch.tensor([0.0, 0.0, 1.0]))
        side = side / side.norm()
        other = torch.linalg.cross(side, to_sun)
        spots = torch.tensor(((1.0, 0.4), (-0.4, 1.0), (0.4, -1.0), (-1.0, -0.4)))
        suns = to_sun + light.softness * (spots[:, :1] * side + spots[:, 1:] * other)
        return (suns / suns.norm(dim=-1, keepdim=True)).to(self.device)

    def solids(self, position: Tensor, rotation: Tensor) -> Solids:
        return Solids(self.shapes, self.dims, self.radius, position, rotation)

    def object_colours(self, hits: Hits, normal: Tensor) -> Tensor:
        """Albedo [3, p] of points on solids."""
        solid = hits.pairs.solid
        point = hits.point / self.extents.index_select(1, solid)
        dice = self.dice.index_select(1, solid)
        value = torch.zeros_like(point[0])
        patterns = self.pattern.index_select(0, solid)
        for number in self.patterns_used:
            which = (patterns == number).nonzero()[:, 0]
            palette_index = PATTERN_LIST[number](
                point.index_select(1, which),
                normal.index_select(1, which),
                dice.index_select(1, which),
                self.lattice,
            )
            value.index_copy_(0, which, palette_index)
        return palette_colour(self.palettes.index_select(2, solid), value)

    def empty_view(self, origin: Tensor, direction: Tensor) -> "_View":
        """The world without objects along rays [3, f, s, p] from origins [3, f].

        Rays to the sky have a haze of 1: no surface is lit, and their point is far below.
        """
        down = direction[2] < -1e-3
        distance = torch.where(down, -origin[2, :, None, None] / direction[2], 1e4)
        point = origin[:, :, None, None] + direction * distance
        haze = 1 - (-((distance / self.backdrop.fade) ** 2)).exp()
        far_below = point.new_tensor([0, 0, -1e3])[:, None, None, None]
        return _View(
            self.backdrop.ground_colour(point, distance),
            torch.where(
                down,
                self.backdrop.haze[:, None, None, None],
                self.backdrop.sky_colour(direction),
            ),
            torch.where(down, haze, 1.0),
            torch.where(down, point, far_below),
        )

    def light_at(
        self, solids: Solids, point: Tensor, normal: Tensor, owner: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Irradiance [3, f, s, p] at points, and the sun's part of it [f, s, p]."""
        light, shape = self.light, point.shape[1:]
        suns = self.suns.T[:, None, :, None]
        per_frame = point.flatten(2).transpose(0, 1)
        square = point.square().sum(0).flatten(1)[:, None]
        centre_square = solids.centre.square().sum(-1, keepdim=True)
        apart = square - 2 * (solids.centre @ per_frame) + centre_square
        height = (solids.centre @ self.suns.T)[..., None]
        along = (height - (point * suns).sum(0)[:, None]).flatten(2)
        radius = self.radius[:, None]
        # A solid casts no shadow on itself, because no solid here is deeply concave.
        others = torch.arange(len(radius), device=self.device)[:, None] != owner.flatten(1)[:, None]
        near = (apart - along * along < radius * radius) & (along > -radius) & others
        toward = suns.expand_as(point).flatten(1)
        shadow = blocked(solids, near, point.flatten(1), toward).view(shape)

        # Occlusion of the sky by a sphere (Quilez, "sphere ambient occlusion").
        off_plane = (normal * point).sum(0).flatten(1)[:, None]
        facing = solids.centre @ normal.flatten(2).transpose(0, 1) - off_plane
        apart = apart.clamp(min=1e-2)
        closed = facing.clamp(min=0) * self.inner_square[:, None] / (apart * apart.sqrt())
        closed = (closed * others).clamp(max=0.9)
        open_sky = (1 - closed).prod(1).view(shape)

        upward = 0.5 + 0.5 * normal[2]
        lift = point[2].clamp(min=0)
        open_sky = open_sky * (1 - 0.6 * (1 - upward) * (-3 * lift).exp())
        direct = (normal * suns).sum(0).clamp(min=0) * ~shadow
        colours = [
            direct * sun + open_sky * (below + (above - below) * upward)
            for sun, above, below in zip(light.sun, light.above, light.below, strict=True)
        ]
        return torch.stack(colours), direct

    def look(
        self, solids: Solids, origin: Tensor, direction: Tensor, empty: "_View"
    ) -> tuple[Tensor, Tensor]:
        """Linear colours [f, 3, p] and solids' numbers [f, p] of some frames.

        origin: Float[Tensor, "f 3"]; direction: Float[Tensor, "f 3 s p"].
        """
        frames, _, _, pixels = direction.shape
        owner, hits = first_hits(solids, origin, direction.flatten(2), COLOURS * pixels)
        view = empty.copies(frames)
        normal = torch.zeros_like(view.point)
        normal[2] = 1
        gloss = torch.zeros_like(view.haze)

        # Ray indices count all samples, view indices only colour samples.
        rays_per_frame = len(SAMPLES) * pixels
        frame = hits.pairs.ray // rays_per_frame
        index = hits.pairs.ray - frame * (rays_per_frame - COLOURS * pixels)
        local_normal = surface_normals(solids, hits)
        world_normal = hits.world_normal(local_normal)
        # Offset from the surface, so that a touching neighbour does not block its light.
        world_point = hits.world_point(solids) + 1e-3 * world_normal
        view.point.flatten(1).index_copy_(1, index, world_point)
        normal.flatten(1).index_copy_(1, index, world_normal)
        view.surface.flatten(1).index_copy_(1, index, self.object_colours(hits, local_normal))
        gloss.flatten().index_copy_(0, index, self.gloss.index_select(0, hits.pairs.solid))
        view.haze.flatten().index_fill_(0, index, 0.0)

        seen = owner[:, : COLOURS * pixels].unflatten(1, (COLOURS, pixels))
        light, direct = self.light_at(solids, view.point, normal, seen)
        half = self.suns.T[:, None, :, None] - direction[:, :, :COLOURS].transpose(0, 1)
        shine = ((normal * half).sum(0) / half.square().sum(0).sqrt()).clamp(min=0)
        for _ in range(5):
            shine = shine * shine
        colour = view.surface * light + gloss * shine * (direct > 0)
        colour = colour + (view.beyond - colour) * view.haze
        return colour.mean(2).transpose(0, 1), owner[:, -pixels:]

    def develop(self, colour: Tensor) -> Tensor:
        """Display bytes from linear colours: exposure, saturation, contrast."""
        grey = colour.mean(1, keepdim=True)
        colour = grey + (colour - grey) * self.light.saturation
        exposed = (colour * self.light.exposure).clamp(min=0)
        # Soft shoulder: reduces the contrast of bright parts before they clip.
        mapped = exposed * (1 + exposed / 4) / (1 + exposed)
        return (mapped.clamp(max=1) ** (1 / self.light.gamma) * 255 + 0.5).clamp(max=255).byte()


def number_by_area(owner: Int64[Tensor, "t h w"], count: int) -> UInt8[Tensor, "t h w"]:
    """Labels 1.. for solids 0..count-1 by total visible area, largest first; 0 for background."""
    area = torch.bincount(owner.flatten() + 1, minlength=count + 1)[1:]
    order = area.argsort(descending=True, stable=True)
    number = torch.zeros(count + 1, dtype=torch.uint8, device=owner.device)
    number[order + 1] = torch.arange(1, count + 1, dtype=torch.uint8, device=owner.device)
    return number[owner + 1]


def render(
    scene: Scene,
    position: Float[Tensor, "t k 3"],
    rotation: Float[Tensor, "t k 3 3"],
    seconds: Float[Tensor, " t"],
    size: Size,
    device: torch.device,
) -> Clip:
    """Frames and labels of the scene's objects in the given poses (local to world)."""
    renderer = _Renderer(scene, size, device)
    eye = scene.camera.positions(seconds).to(device)
    position, rotation = position.to(device), rotation.to(device)
    budget = CPU_RAYS if device.type == "cpu" else DEVICE_RAYS
    chunk = max(1, budget // (len(SAMPLES) * size[0] * size[1]))
    still = scene.camera.speed == 0
    colours, owners = [], []
    direction = empty = None
    for part in torch.arange(len(eye), device=device).split(chunk):
        if direction is None or empty is None or not still:
            seen_from = eye[:1] if still else eye[part]
            direction = rays(seen_from, size).flatten(3)
            empty = renderer.empty_view(seen_from.T, direction[:, :, :COLOURS].transpose(0, 1))
        colour, owner = renderer.look(
            renderer.solids(position[part], rotation[part]),
            eye[part],
            direction.expand(len(part), -1, -1, -1),
            empty,
        )
        colours.append(renderer.develop(colour))
        owners.append(owner)
    frames = torch.cat(colours).unflatten(-1, size)
    labels = number_by_area(torch.cat(owners).unflatten(-1, size), len(scene.things))
    return Clip(frames, labels)
