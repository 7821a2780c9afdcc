"""Ground and sky: textures generated once per clip, for the rays that hit no object."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate

TEXELS = 256  # per side of the ground's tile
SKY_TEXELS = (48, 192)  # elevation 0..90 degrees, half a turn of azimuth
COARSE = 16  # texels per side that are averaged for the far ground

Field = Callable[[torch.Generator], Tensor]


@dataclass(frozen=True)
class Backdrop:
    """Linear colours of a world without objects."""

    ground: Float[Tensor, "1 6 h w"]  # one mirrored tile: fine and coarse
    sky: Float[Tensor, "1 3 e a"]
    haze: Float[Tensor, " 3"]  # colour to which the ground fades at the horizon
    tile: float  # metres per side of the ground's tile
    fade: float  # metres at which two thirds of the ground's colour have faded

    def to(self, device: torch.device) -> "Backdrop":
        return Backdrop(
            self.ground.to(device),
            self.sky.to(device),
            self.haze.to(device),
            self.tile,
            self.fade,
        )

    def ground_colour(
        self, point: Float[Tensor, "3 *n"], distance: Float[Tensor, "*n"]
    ) -> Float[Tensor, "3 *n"]:
        """Albedo at points of the ground, seen from `distance` metres away."""
        place = (point[:2] * (2 / self.tile)).flatten(1).T[None, None]
        both = grid_sample(self.ground, place, padding_mode="reflection", align_corners=False)
        fine, coarse = both[0, :, 0].unflatten(-1, distance.shape).split(3)
        blur = ((distance - 10) / 25).clamp(0, 1)
        return fine + (coarse - fine) * blur

    def sky_colour(self, direction: Float[Tensor, "3 *n"]) -> Float[Tensor, "3 *n"]:
        x, y, z = direction.flatten(1)
        # Mirrored about the x axis, so that the texture has no seam.
        azimuth = torch.atan2(y, x).abs() * (2 / math.pi) - 1
        elevation = torch.asin(z.clamp(0, 1)) * (4 / math.pi) - 1
        place = torch.stack((azimuth, elevation), -1)[None, None]
        colours = grid_sample(self.sky, place, padding_mode="border", align_corners=False)
        return colours[0, :, 0].unflatten(-1, direction.shape[1:])


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _count(generator: torch.Generator, low: int, below: int) -> int:
    return int(torch.randint(low, below, (), generator=generator).item())


def _smooth(generator: torch.Generator, cells: int, size: tuple[int, int]) -> Tensor:
    values = torch.rand((1, 1, cells, cells), generator=generator)
    return interpolate(values, size, mode="bicubic", align_corners=True)[0, 0]


def _fractal(generator: torch.Generator, cells: int, size: tuple[int, int]) -> Tensor:
    """Noise of four octaves, scaled to 0..1; the coarsest has `cells` cells per side."""
    total = torch.zeros(size)
    for octave in range(4):
        total = total + _smooth(generator, cells << octave, size) / 1.7**octave
    return (total - total.min()) / (total.max() - total.min())


def _coordinates() -> tuple[Tensor, Tensor]:
    axis = (torch.arange(TEXELS) + 0.5) / TEXELS
    return axis[:, None].expand(TEXELS, TEXELS), axis.expand(TEXELS, TEXELS)


def _mottled(generator: torch.Generator) -> Tensor:
    return _fractal(generator, _count(generator, 3, 12), (TEXELS, TEXELS))


def _tiles(generator: torch.Generator) -> Tensor:
    count = _count(generator, 4, 12)
    v, u = _coordinates()
    cell = ((v * count).long() + (u * count).long() * count) % (count * count)
    shade = torch.rand(count * count, generator=generator)[cell]
    if _uniform(generator, 0.0, 1.0) < 0.5:
        shade = 0.2 * shade + 0.8 * ((v * count).floor() + (u * count).floor()).remainder(2)
    joint = ((v * count).frac() < 0.06) | ((u * count).frac() < 0.06)
    return torch.where(joint, 0.0, 0.25 + 0.75 * shade)


def _planks(generator: torch.Generator) -> Tensor:
    count = _count(generator, 5, 14)
    v, _ = _coordinates()
    shade = torch.rand(count, generator=generator)[(v * count).long()]
    grain = interpolate(
        torch.rand((1, 1, TEXELS // 2, 8), generator=generator), (TEXELS, TEXELS), mode="bilinear"
    )[0, 0]
    joint = (v * count).frac() < 0.07
    return torch.where(joint, 0.0, 0.2 + 0.5 * shade + 0.3 * grain)


def _slopes(generator: torch.Generator) -> Tensor:
    broad = _smooth(generator, 3, (TEXELS, TEXELS))
    grain = torch.rand((TEXELS, TEXELS), generator=generator)
    return (0.8 * broad + 0.2 * grain).clamp(0, 1)


def _patches(generator: torch.Generator) -> Tensor:
    levels = _count(generator, 3, 6)
    return (_fractal(generator, 4, (TEXELS, TEXELS)) * levels).floor() / levels


def _waves(generator: torch.Generator) -> Tensor:
    v, u = _coordinates()
    bend = _smooth(generator, 4, (TEXELS, TEXELS))
    turns = _uniform(generator, 6.0, 14.0)
    return 0.5 + 0.5 * ((v + 0.25 * bend + 0.1 * u) * turns * math.tau).sin()


def _rings(generator: torch.Generator) -> Tensor:
    count = _count(generator, 4, 9)
    v, u = _coordinates()
    from_middle = torch.hypot((v * count).frac() - 0.5, (u * count).frac() - 0.5)
    return (from_middle * _uniform(generator, 3.0, 6.0)).frac().round()


GROUNDS: dict[str, Field] = {
    "mottled": _mottled,
    "tiles": _tiles,
    "planks": _planks,
    "slopes": _slopes,
    "patches": _patches,
    "waves": _waves,
    "rings": _rings,
}
UNSEEN_GROUNDS = ("waves", "rings")
TRAINING_GROUNDS = tuple(name for name in GROUNDS if name not in UNSEEN_GROUNDS)


def plain_backdrop(colour: Float[Tensor, " 3"]) -> Backdrop:
    """A backdrop of one colour."""
    ground = colour[None, :, None, None]
    return Backdrop(torch.cat((ground, ground), 1), ground, colour, 1.0, 1.0)


def textured_backdrop(
    ground: str,
    ground_palette: Float[Tensor, "3 3"],
    sky_palette: Float[Tensor, "3 3"],
    generator: torch.Generator,
) -> Backdrop:
    """A ground texture of one family in three colours (rows), under a hazy sky with a skyline."""
    field = GROUNDS[ground](generator).clamp(0, 1)
    tint = _fractal(generator, 3, (TEXELS, TEXELS)) * _uniform(generator, 0.0, 0.7)
    base = ground_palette[0][:, None, None]
    fine = base + (ground_palette[1][:, None, None] - base) * field
    fine = fine + (ground_palette[2][:, None, None] - fine) * tint
    coarse = interpolate(avg_pool2d(fine[None], COARSE), (TEXELS, TEXELS), mode="bilinear")

    rows, columns = SKY_TEXELS
    height = ((torch.arange(rows) + 0.5) / rows)[:, None]
    clouds = _fractal(generator, 4, SKY_TEXELS) * _uniform(generator, 0.0, 1.0)
    haze = sky_palette[0]
    up = (height * _uniform(generator, 1.5, 4.0)).clamp(max=1)
    sky = haze[:, None, None] * (1 - up) + sky_palette[1][:, None, None] * up
    sky = sky + (1 - sky) * clouds * 0.5
    # Hills, trees or houses: a dark band whose upper edge varies along the horizon.
    cells = _count(generator, 6, 40)
    edge = torch.rand((1, 1, cells), generator=generator)
    mode = "nearest" if _uniform(generator, 0.0, 1.0) < 0.5 else "linear"
    edge = interpolate(edge, columns, mode=mode)[0] * _uniform(generator, 0.0, 0.35)
    skyline = sky_palette[2][:, None, None] * (0.6 + 0.8 * _fractal(generator, 6, SKY_TEXELS))
    sky = torch.where(height < edge, skyline, sky)
    return Backdrop(
        torch.cat((fine[None], coarse), 1),
        sky[None],
        haze,
        _uniform(generator, 6.0, 14.0),
        _uniform(generator, 25.0, 90.0),
    )
