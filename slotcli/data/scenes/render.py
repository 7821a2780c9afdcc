"""Pictures and labels of a scene whose objects' poses are known."""

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from slotcli.data.scenes.camera import COLOUR_SAMPLES, SAMPLES, rays
from slotcli.data.scenes.scene import Light, Scene
from slotcli.data.scenes.textures import PATTERNS, palette_colour
from slotcli.data.scenes.trace import Hits, Solids, blocked, first_hits, surface_normals
from slotcli.types import Clip, Size

BACKGROUND = -1
COLOURS = len(COLOUR_SAMPLES)
# Samples traced at once: what a processor's cache holds, or what fills an accelerator.
CPU_RAYS, DEVICE_RAYS = 24_000, 1_500_000


class _Renderer:
    """The scene's constants on one device."""

    def __init__(self, scene: Scene, size: Size, device: torch.device) -> None:
        things = scene.things
        self.size, self.device = size, device
        self.shapes = [thing.shape for thing in things]
        self.dims = self._table([thing.dims for thing in things]).T.contiguous()
        self.radius = self._table([thing.hull.radius for thing in things])
        extents = [thing.hull.half_extents for thing in things]
        self.inner = self._table([sum(extent) / 3 for extent in extents])
        self.extents = self._table(extents).T.contiguous()
        self.palettes = self._table([thing.palette for thing in things]).permute(2, 1, 0)
        self.palettes = self.palettes.contiguous()
        self.gloss = self._table([thing.gloss for thing in things])
        self.patterns = [thing.pattern for thing in things]
        self.dice, self.lattice = scene.dice.to(device), scene.lattice.to(device)
        self.backdrop = scene.backdrop.to(device)
        self.light = scene.light
        self.suns = self._sun_directions(scene.light)

    def _table(self, rows: list) -> Tensor:
        return torch.tensor(rows, dtype=torch.float32).to(self.device)

    def _sun_directions(self, light: Light) -> Tensor:
        """Float[Tensor, "s 3"]: one point of the sun's disc for each colour sample."""
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
        value = torch.zeros_like(hits.distance)
        for name in sorted(set(self.patterns)):
            mine = torch.tensor([p == name for p in self.patterns], device=self.device)
            which = mine[solid].nonzero()[:, 0]
            value[which] = PATTERNS[name](
                point[:, which], normal[:, which], dice[:, which], self.lattice
            )
        return palette_colour(self.palettes.index_select(2, solid), value)

    def background(self, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Colours [f, 3, s, p], points, and how much of each ray's light the haze swallows.

        A ray that goes to the sky is all haze: nothing is lit there, and its point is far below.
        """
        down = direction[:, 2] < -1e-3
        distance = torch.where(down, -origin[:, 2, None, None] / direction[:, 2], 1e4)
        point = origin[:, :, None, None] + direction * distance[:, None]
        ground = self.backdrop.ground_colour(point.transpose(0, 1), distance).transpose(0, 1)
        sky = self.backdrop.sky_colour(direction.transpose(0, 1)).transpose(0, 1)
        haze = 1 - (-((distance / self.backdrop.fade) ** 2)).exp()
        haze = torch.where(down, haze, 1.0)[:, None]
        beyond = torch.where(
            down[:, None], self.backdrop.haze[:, None, None], sky
        )
        point = torch.where(down[:, None], point, point.new_tensor([0, 0, -1e3])[:, None, None])
        return torch.cat((ground, beyond), 1), point, haze

    def shade(
        self,
        solids: Solids,
        point: Tensor,
        normal: Tensor,
        owner: Tensor,
    ) -> Tensor:
        """Light [f, 3, s, p] that falls on points [f, 3, s, p]."""
        frames = len(point)
        count = solids.centre.shape[1]
        light = self.light
        suns = self.suns.T[:, :, None]  # 3 s 1
        flat = point.flatten(2)
        square = (flat * flat).sum(1, keepdim=True)
        centre_square = (solids.centre**2).sum(-1, keepdim=True)
        apart = square - 2 * (solids.centre @ flat) + centre_square
        height = (solids.centre @ self.suns.T)[..., None]
        along = (height - (point * suns).sum(1)[:, None]).flatten(2)
        radius = self.radius[:, None]
        others = torch.arange(count, device=self.device)[:, None] != owner.flatten(1)[:, None]
        near = (apart - along * along < radius * radius) & (along > -radius) & others
        toward = suns.expand_as(point)
        shadow = blocked(
            solids,
            near,
            point.transpose(0, 1).flatten(1),
            toward.transpose(0, 1).flatten(1),
        ).unflatten(0, (frames, *point.shape[2:]))

        # Sky hidden by a ball (Quilez, "sphere ambient occlusion").
        facing = solids.centre @ normal.flatten(2) - (normal * point).sum(1).flatten(1)[:, None]
        inner = (self.inner**2)[:, None]
        closed = facing.clamp(min=0) * inner * apart.clamp(min=1e-2).rsqrt() ** 3
        closed = torch.where(others, closed, 0.0).clamp(max=0.9)
        open_sky = (1 - closed).prod(1).unflatten(1, point.shape[2:])

        upward = 0.5 + 0.5 * normal[:, 2]
        lift = point[:, 2].clamp(min=0)
        open_sky = open_sky * (1 - 0.6 * (1 - upward) * (-3 * lift).exp())
        direct = (normal * suns).sum(1).clamp(min=0) * (~shadow)
        colours = [
            direct * sun + open_sky * (above * upward + below * (1 - upward))
            for sun, above, below in zip(light.sun, light.above, light.below, strict=True)
        ]
        return torch.stack(colours, 1), direct

    def frames(
        self, solids: Solids, origin: Tensor, direction: Tensor, background: tuple
    ) -> tuple[Tensor, Tensor]:
        """Linear colours [f, 3, h, w] and solid numbers [f, h, w] of some frames."""
        frames, _, samples, height, width = direction.shape
        pixels = height * width
        hits = first_hits(solids, origin, direction.flatten(2))
        owner = torch.full((frames * samples * pixels,), BACKGROUND, device=self.device)
        owner[hits.pairs.ray] = hits.pairs.solid
        owner = owner.view(frames, samples, pixels)

        surface, point, haze = background
        surface = surface.expand(frames, -1, -1, -1).clone()
        point = point.expand(frames, -1, -1, -1).clone()
        haze = haze.expand(frames, -1, -1, -1).clone()
        normal = torch.zeros_like(point)
        normal[:, 2] = 1
        gloss = torch.zeros(frames, COLOURS, pixels, device=self.device)

        kept = (hits.pairs.ray % (samples * pixels) < COLOURS * pixels).nonzero()[:, 0]
        if len(kept):
            hits = Hits(
                hits.pairs.pick(kept),
                hits.distance[kept],
                hits.point[:, kept],
                hits.rotation[:, :, kept],
            )
            local_normal = surface_normals(solids, hits)
            frame = hits.pairs.ray // (samples * pixels)
            place = hits.pairs.ray % (samples * pixels)
            world_normal = (hits.rotation * local_normal).sum(1)
            centre = solids.centre.flatten(0, 1).T.index_select(1, hits.pairs.pose)
            world_point = (hits.rotation * hits.point).sum(1) + centre
            # Off the surface, so that a neighbour it touches does not swallow its light.
            point.flatten(2)[frame, :, place] = (world_point + 1e-3 * world_normal).T
            normal.flatten(2)[frame, :, place] = world_normal.T
            surface.flatten(2)[frame, :3, place] = self.object_colours(hits, local_normal).T
            gloss.flatten(1)[frame, place] = self.gloss[hits.pairs.solid]
            haze.flatten(2)[frame, 0, place] = 0

        lit, direct = self.shade(solids, point, normal, owner[:, :COLOURS])
        ways = direction[:, :, :COLOURS].flatten(3)
        half = self.suns.T[:, :, None] - ways
        shine = ((normal * half).sum(1) / half.square().sum(1).sqrt()).clamp(min=0)
        shine = gloss * (shine**32) * (direct > 0)
        colour = surface[:, :3] * lit + shine[:, None]
        colour = colour + (surface[:, 3:] - colour) * haze
        return colour.mean(2).unflatten(-1, (height, width)), owner[:, -1].view(
            frames, height, width
        )

    def develop(self, colour: Tensor) -> Tensor:
        """Display bytes from linear colours: exposure, saturation, contrast."""
        grey = colour.mean(1, keepdim=True)
        colour = grey + (colour - grey) * self.light.saturation
        exposed = (colour * self.light.exposure).clamp(min=0)
        # A soft shoulder: bright parts lose contrast before they clip.
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
    direction = background = None
    colours, owners = [], []
    for part in torch.arange(len(eye)).split(chunk):
        if not still or direction is None:
            seen_from = eye[:1] if still else eye[part]
            direction = rays(seen_from, size)
            background = renderer.background(seen_from, direction[:, :, :COLOURS].flatten(3))
        colour, owner = renderer.frames(
            renderer.solids(position[part], rotation[part]),
            eye[part],
            direction.expand(len(part), -1, -1, -1, -1),
            background,
        )
        colours.append(renderer.develop(colour))
        owners.append(owner)
    return Clip(torch.cat(colours), number_by_area(torch.cat(owners), len(scene.things)))
