"""Patterns on solids: a position on the solid's palette of four colours per surface point.

A pattern is a function of the point in the solid's frame (scaled so that the solid fills about
-1..1 on each axis), the surface normal, and eight random numbers in 0..1 per solid. It does not
depend on the solid's pose or shape. Values 0..3 index the palette; fractions are blends.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

LATTICE = 16  # random values per period of the noise, along each axis

Pattern = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def noise(lattice: Tensor, point: Tensor) -> Tensor:
    """Periodic value noise, about 0..1, of one random cell per unit length.

    `lattice` is Float[Tensor, "1 1 d d d"] with its first layers repeated as the last.
    """
    wrapped = (point / LATTICE).frac()
    wrapped = torch.where(wrapped < 0, wrapped + 1, wrapped) * 2 - 1
    grid = wrapped.T[None, None, None]
    return grid_sample(lattice, grid, align_corners=True, padding_mode="border")[0, 0, 0, 0]


def noise_lattice(generator: torch.Generator) -> Tensor:
    values = torch.rand((LATTICE,) * 3, generator=generator)
    for axis in range(3):
        values = torch.cat((values, values.narrow(axis, 0, 1)), axis)
    return values[None, None]


def _scale(low: float, high: float, number: Tensor) -> Tensor:
    return low + (high - low) * number


def _fraction(value: Tensor) -> Tensor:
    return value - value.floor()


def _ramp(value: Tensor, low: float, high: float) -> Tensor:
    return ((value - low) / (high - low)).clamp(0, 1)


def _direction(first: Tensor, second: Tensor) -> Tensor:
    """Unit vectors, uniform over the sphere for uniform numbers."""
    height, turn = first * 2 - 1, second * math.tau
    level = (1 - height * height).clamp(min=0).sqrt()
    return torch.stack((level * turn.cos(), level * turn.sin(), height))


def _face(point: Tensor, normal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The axis that the surface faces, and the two other coordinates (box projection)."""
    x, y, z = point
    ax, ay, az = normal.abs()
    on_x, on_z = (ax >= ay) & (ax >= az), (az > ax) & (az > ay)
    u = torch.where(on_x, y, x)
    v = torch.where(on_z, y, z)
    return torch.where(on_x, 0.0, torch.where(on_z, 2.0, 1.0)), u, v


def plain(point: Tensor, normal: Tensor, dice: Tensor, lattice: Tensor) -> Tensor:
    return torch.zeros_like(point[0])


def checker(point: Tensor, normal: Tensor, dice: Tensor, lattice: Tensor) -> Tensor:
    cells = (point * _scale(1.0, 2.5, dice[0]) + dice[1:4] + 1e-3).floor().sum(0)
    return _fraction(cells / 2) * 2


def stripes(point: Tensor, normal: Tensor, dice: Tensor, lattice: Tensor) -> Tensor:
    along = (point * _direction(dice[0], dice[1])).sum(0) * _scale(0.8, 2.2, dice[2]) + dice[3]
    phase = _fraction(along)
    wide = phase < _scale(0.25, 0.6, dice[4])
    thin = (phase > 0.75) & (phase < 0.87) & (dice[5] > 0.5)
    return torch.where(wide, 1.0, torch.where(thin, 2.0, 0.0))


def clouds(point: Tensor, normal: Tensor, dice: Tensor, lattice: Tensor) -> Tensor:
    stretch = torch.stack([_scale(0.6, 1.8, dice[i]) for i in range(3)])
    scaled = point * stretch * _scale(1.2, 2.5, dice[3]) + 16 * dice[4:7]
    value = 0.65 * noise(lattice, scaled) + 0.35 * noise(lattice, scaled * 2.3)
    return 3 * _ramp(value, 0.25, 0.75)


def dots(point: Tensor, normal: Tensor, dice: Tensor, lattice: Tensor) -> Tensor:
    scaled = point * _scale(1.1, 2.2, dice[0]) + dice[1:4]
    from_middle = ((scaled - scaled.floor() - 0.5) ** 2).sum(0)
    edge = _scale(0.08, 0.2, dice[4])
    core = torch.where((from_middle < 0.3 * edge) & (dice[5] > 0.4), 2.0, 1.0)
    return torch.where(from_middle < edge, core, 0.0)


def package(point: Tensor, normal: Tensor, dice: Tensor, lattice: Tensor) -> Tensor:
    """Faces of two tones, with a band around them, and a label with lines of print."""
    axis, u, v = _face(point, normal)
    value = torch.where((axis == 2) & (dice[0] > 0.5), 3.0, 0.0)
    band = (v - _scale(-0.7, 0.7, dice[1])).abs() < _scale(0.05, 0.3, dice[2])
    value = torch.where(band, 1.0, value)
    across, up = u - _scale(-0.4, 0.4, dice[3]), v - _scale(-0.4, 0.4, dice[4])
    wide, tall = _scale(0.3, 0.8, dice[5]), _scale(0.2, 0.6, dice[6])
    label = (across.abs() < wide) & (up.abs() < tall) & (axis != (3 * dice[7]).floor())
    line = (across.abs() < 0.8 * wide) & (up.abs() < 0.8 * tall) & (_fraction(up * 4) < 0.4)
    return torch.where(label, torch.where(line, 3.0, 2.0), value)


def wood(point: Tensor, normal: Tensor, dice: Tensor, lattice: Tensor) -> Tensor:
    axis = _direction(dice[0], dice[1])
    along = (point * axis).sum(0)
    off_axis = point - along * axis + 0.3 * (dice[2:5] - 0.5)
    radius = (off_axis * off_axis).sum(0).sqrt()
    wobble = noise(lattice, point * 1.5 + 16 * dice[5:8])
    place = _fraction(radius * _scale(2.0, 4.0, dice[6]) + 0.8 * wobble + 0.1 * along)
    return 1.5 * (2 * place - 1).abs()


def chevrons(point: Tensor, normal: Tensor, dice: Tensor, lattice: Tensor) -> Tensor:
    _, u, v = _face(point, normal)
    zigzag = (_fraction(u * _scale(0.8, 1.6, dice[0]) + dice[1]) - 0.5).abs()
    place = _fraction(v * _scale(1.2, 2.2, dice[2]) + zigzag + dice[3])
    return (place * 3).floor()


def bricks(point: Tensor, normal: Tensor, dice: Tensor, lattice: Tensor) -> Tensor:
    _, u, v = _face(point, normal)
    up = v * _scale(1.8, 3.2, dice[0]) + dice[1]
    along = u * _scale(1.0, 1.8, dice[2]) + dice[3] + 0.5 * _fraction(up.floor() / 2) * 2
    joint = (_fraction(up) < 0.16) | (_fraction(along) < 0.1)
    shade = _fraction(up.floor() * 0.37 + along.floor() * 0.61)
    return torch.where(joint, 3.0, shade)


def spiral(point: Tensor, normal: Tensor, dice: Tensor, lattice: Tensor) -> Tensor:
    _, u, v = _face(point, normal)
    arms = 1 + (3 * dice[0]).floor()
    turn = torch.atan2(v, u + 1e-6) / math.tau * arms
    place = _fraction(turn + torch.hypot(u, v) * _scale(0.8, 2.0, dice[1]) + dice[2])
    return torch.where(place < 0.5, 0.0, 2.0)


PATTERNS: dict[str, Pattern] = {
    "plain": plain,
    "checker": checker,
    "stripes": stripes,
    "clouds": clouds,
    "dots": dots,
    "package": package,
    "wood": wood,
    "chevrons": chevrons,
    "bricks": bricks,
    "spiral": spiral,
}
UNSEEN_PATTERNS = ("chevrons", "bricks", "spiral")
TRAINING_PATTERNS = tuple(
    name for name in PATTERNS if name not in UNSEEN_PATTERNS and name != "plain"
)


def palette_colour(palette: Tensor, value: Tensor) -> Tensor:
    """Colours at positions 0..3 on palettes.

    palette: Float[Tensor, "c 4 p"]; value: Float[Tensor, " p"]; result: Float[Tensor, "c p"].
    """
    # Hat functions around 0, 1, 2 and 3 interpolate without a gather.
    steps = torch.arange(4, device=value.device, dtype=value.dtype)[:, None]
    return (palette * (1 - (value - steps).abs()).clamp(min=0)).sum(1)
