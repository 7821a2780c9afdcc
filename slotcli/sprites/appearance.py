"""Surface textures: pieces of photographs, shading, stripes; and colour augmentation."""

import colorsys

import cv2
import numpy as np
from jaxtyping import UInt8

from slotcli.sprites.assets import Photographs

_SKIN_HUES = (0.02, 0.1)
_DETAIL = 96  # pixels of a shaded surface's longer side; it is smooth


def photograph_piece(
    rng: np.random.Generator,
    photographs: Photographs,
    height: int,
    width: int,
    zoom: tuple[float, float] = (0.15, 1.0),
) -> UInt8[np.ndarray, "h w 3"]:
    """A random crop of a photograph; its size is a fraction within `zoom` of the largest crop."""
    picture = photographs.draw(rng)
    fit = min(picture.shape[0] / height, picture.shape[1] / width)
    scale = fit * np.exp(rng.uniform(np.log(zoom[0]), np.log(zoom[1])))
    rows, columns = max(2, int(height * scale)), max(2, int(width * scale))
    top = int(rng.integers(picture.shape[0] - rows + 1))
    left = int(rng.integers(picture.shape[1] - columns + 1))
    piece = picture[top : top + rows, left : left + columns]
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    way = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return _u8(cv2.resize(piece, (width, height), interpolation=way))


def surface(
    rng: np.random.Generator, photographs: Photographs, height: int, width: int
) -> UInt8[np.ndarray, "h w 3"]:
    """A random surface: a photograph, shaded, striped or plain."""
    kind = rng.random()
    if kind < 0.5:
        return jittered(rng, photograph_piece(rng, photographs, height, width, (0.08, 0.9)))
    if kind < 0.85:
        return shaded(rng, colour(rng), height, width)
    return striped(rng, height, width)


def colour(rng: np.random.Generator) -> np.ndarray:
    """A realistic RGB colour: often pale, gray or dark, seldom bright."""
    saturation = rng.uniform(0, 0.25) if rng.random() < 0.4 else rng.uniform(0.2, 0.9)
    value = rng.uniform(0.08, 1)
    return 255 * np.array(colorsys.hsv_to_rgb(rng.random(), saturation, value))


def skin_colour(rng: np.random.Generator) -> np.ndarray:
    """An RGB colour of skin, from dark to pale."""
    value = rng.uniform(0.25, 0.98)
    saturation = np.clip(rng.uniform(0.25, 0.65) * (1.25 - 0.5 * value), 0, 1)
    return 255 * np.array(colorsys.hsv_to_rgb(rng.uniform(*_SKIN_HUES), saturation, value))


def shaded(
    rng: np.random.Generator, base: np.ndarray, height: int, width: int
) -> UInt8[np.ndarray, "h w 3"]:
    """A surface of one colour under random light: a gradient, stains, sometimes a highlight."""
    shrink = max(1.0, max(height, width) / _DETAIL)
    rows, columns = max(4, int(height / shrink)), max(4, int(width / shrink))
    y, x = np.linspace(-1, 1, rows, dtype=np.float32)[:, None], np.linspace(-1, 1, columns)
    x = x.astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + rng.uniform(0, 0.5) * (np.cos(angle) * x + np.sin(angle) * y)
    if rng.random() < 0.4:  # round: dark towards the sides
        light = light * (1.1 - rng.uniform(0.1, 0.5) * (x * x + y * y))
    if rng.random() < 0.25:
        apart = (x - rng.uniform(-0.6, 0.6)) ** 2 + (y - rng.uniform(-0.6, 0.6)) ** 2
        light = light + rng.uniform(0.2, 0.9) * np.exp(-apart / rng.uniform(0.02, 0.3))
    stains = cv2.resize(
        rng.normal(0, rng.uniform(0, 0.16), _stain_grid(rng)).astype(np.float32),
        (columns, rows),
        interpolation=cv2.INTER_CUBIC,
    )
    if rng.random() < 0.5:  # a rough surface
        stains = stains + rng.normal(0, rng.uniform(0, 0.12), (rows, columns)).astype(np.float32)
    picture = np.clip((light + stains)[..., None] * base, 0, 255).astype(np.uint8)
    return _u8(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR))


def striped(rng: np.random.Generator, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Stripes or checks of two colours, as of cloth, shutters and tiles."""
    base = colour(rng)
    other = colour(rng) if rng.random() < 0.5 else base * rng.uniform(0.5, 0.9)
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.05, 0.4) * max(height, width)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    wave = np.sin((np.cos(angle) * x + np.sin(angle) * y) * (2 * np.pi / period))
    if rng.random() < 0.35:
        wave = wave * np.sin((np.cos(angle) * y - np.sin(angle) * x) * (2 * np.pi / period))
    share = np.clip(wave * rng.uniform(1, 6) + 0.5, 0, 1)[..., None]
    light = 1 + rng.uniform(-0.3, 0.3) * (y / height - 0.5)[..., None]
    return np.clip((base * share + other * (1 - share)) * light, 0, 255).astype(np.uint8)


def jittered(
    rng: np.random.Generator, picture: UInt8[np.ndarray, "h w 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Colour jitter: random gain and offset per channel, contrast and saturation."""
    gain = rng.uniform(0.75, 1.25, 3) * rng.uniform(0.6, 1.2)
    levels = np.arange(256, dtype=np.float32)[:, None] * gain + rng.uniform(-25, 25)
    table = np.clip(levels, 0, 255).astype(np.uint8)[None]
    if rng.random() < 0.1:
        picture = picture[..., rng.permutation(3)]
    varied = cv2.LUT(np.ascontiguousarray(picture), table)
    if rng.random() < 0.25:
        gray = cv2.cvtColor(varied, cv2.COLOR_RGB2GRAY)[..., None]
        varied = cv2.addWeighted(
            varied, keep := rng.uniform(0.1, 0.9), gray.repeat(3, 2), 1 - keep, 0
        )
    return _u8(varied)


def with_alpha(
    picture: UInt8[np.ndarray, "h w 3"], alpha: UInt8[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 4"]:
    """RGBA with premultiplied alpha, so that resampling does not cause dark rims."""
    spread = cv2.merge([alpha, alpha, alpha])
    return _u8(cv2.merge([*cv2.split(cv2.multiply(picture, spread, scale=1 / 255)), alpha]))


def _stain_grid(rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(3, 14)), int(rng.integers(3, 14))


def _u8(picture: object) -> np.ndarray:
    return np.asarray(picture, np.uint8)
