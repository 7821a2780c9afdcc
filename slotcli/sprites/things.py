"""Single objects: images with alpha, cut-out shapes, boxes, large regions and arms."""

import math
from collections.abc import Callable

import cv2
import numpy as np

from slotcli.sprites.appearance import (
    colour,
    jittered,
    photograph_piece,
    shaded,
    skin_colour,
    surface,
    with_alpha,
)
from slotcli.sprites.light import draw_shadow
from slotcli.sprites.motion import Path, draw_deformation, draw_path
from slotcli.sprites.scene import Sprite, Stage, Thing
from slotcli.sprites.shapes import closed_shape, fill, region, tapering

_SHARPNESS = 1.1  # sprite pixels per frame pixel
_LARGEST = 288  # pixels of a sprite's longer side
_MARGIN = 0.14  # around a deformed sprite
_DEFORMED = 0.3  # fraction of objects that are deformed
_SUPPORTED = 3  # least side of a sprite, in pixels

Texture = Callable[[int, int], np.ndarray]  # of height and width


def pictured(rng: np.random.Generator, stage: Stage, size: float, path: Path) -> Thing:
    """An object from the folder; `size` is its longer side."""
    picture = stage.assets.objects.draw(rng)
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
    stretch = np.exp(rng.normal(0, 0.12))
    longest = max(picture.shape[:2])
    shrink = min(1.0, size * stage.pixels * _SHARPNESS / longest)
    height = max(_SUPPORTED, round(picture.shape[0] * shrink))
    width = max(_SUPPORTED, round(picture.shape[1] * shrink * stretch))
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    rgba = with_alpha(jittered(rng, small[..., :3]), np.ascontiguousarray(small[..., 3]))
    sprite = Sprite(rgba, (width / 2, height / 2), size / max(height, width), (path,))
    return _thing(rng, sprite, size)


def shaped(
    rng: np.random.Generator,
    stage: Stage,
    size: float,
    path: Path,
    texture: Texture | None = None,
) -> Thing:
    """A blob, polygon, box or ellipse with a random surface."""
    texture = texture or (
        lambda height, width: surface(rng, stage.assets.photographs, height, width)
    )
    return _thing(rng, cut(stage, closed_shape(rng) * size, texture, (path,)), size)


def cut_photograph(rng: np.random.Generator, stage: Stage, size: float, path: Path) -> Thing:
    """A piece of a photograph in a random shape."""

    def texture(height: int, width: int) -> np.ndarray:
        piece = photograph_piece(rng, stage.assets.photographs, height, width, (0.1, 0.9))
        return jittered(rng, piece)

    return shaped(rng, stage, size, path, texture)


def box(rng: np.random.Generator, stage: Stage, size: float, path: Path) -> Thing:
    """A box with a front, a top and a side; sometimes a vehicle, with wheels and windows."""
    high, deep = rng.uniform(0.35, 1.1), rng.uniform(0.1, 0.45)
    lean = rng.uniform(0.3, 1) * rng.choice([-1, 1])
    front = np.array([[-0.5, 0], [0.5, 0], [0.5, high], [-0.5, high]])
    shift = np.array([lean * deep, -deep * rng.uniform(0.4, 1)])
    top = np.array([front[0], front[1], front[1] + shift, front[0] + shift])
    edge = front[[1, 2]] if lean > 0 else front[[0, 3]]
    side = np.array([edge[0], edge[1], edge[1] + shift, edge[0] + shift])
    every = np.concatenate([front, top, side])
    low, high_corner = every.min(0), every.max(0)
    scale = size / (high_corner - low).max()
    detail = min(stage.pixels * _SHARPNESS * scale, _LARGEST / (high_corner - low).max())
    width, height = (max(_SUPPORTED, math.ceil(side * detail) + 2) for side in (high_corner - low))
    material = surface(rng, stage.assets.photographs, height, width)
    mask = np.zeros((height, width), np.uint8)
    picture = np.zeros((height, width, 3), np.uint8)
    for face, light in ((top, 1.25), (side, rng.uniform(0.45, 0.85)), (front, 1.0)):
        inside = fill((face - low) * detail + 1, height, width)
        mask = np.maximum(mask, inside)
        picture = np.where(
            inside[..., None] > 127, cv2.convertScaleAbs(material, alpha=light), picture
        )
    if rng.random() < 0.35:
        _windows_and_wheels(rng, picture, (front - low) * detail + 1)
    # Pixels where only soft edges meet belong to no face.
    picture = np.where(picture.any(2, keepdims=True), picture, material)
    sprite = Sprite(
        with_alpha(picture, mask), (width / 2, height / 2), float(scale / detail), (path,)
    )
    return Thing([sprite], draw_shadow(rng, size))


def large_region(rng: np.random.Generator, stage: Stage, path: Path) -> Thing:
    """A table, wall or floor across a border of the frame; `path` goes through (0, 0)."""
    outline = region(rng, stage.width, stage.height)
    return Thing(
        [
            cut(
                stage,
                outline,
                lambda height, width: surface(rng, stage.assets.photographs, height, width),
                (path,),
            )
        ],
        draw_shadow(rng, 0.3),
    )


def arm(rng: np.random.Generator, stage: Stage) -> Thing:
    """An arm that reaches into the frame from a border, bending at its elbow and wrist."""
    along = rng.uniform(0.05, 0.95)
    side = int(rng.choice([0, 0, 1, 2, 3]))
    x = (along * stage.width, -0.05, along * stage.width, stage.width + 0.05)[side]
    y = (stage.height + 0.05, along * stage.height, -0.05, along * stage.height)[side]
    inwards = np.arctan2(stage.height / 2 - y, stage.width / 2 - x) + rng.normal(0, 0.35)
    length, thick = rng.uniform(0.2, 0.5), rng.uniform(0.08, 0.28)
    skin = skin_colour(rng)
    sleeve = surface_of_cloth(rng, stage)
    bare: Texture = lambda height, width: shaded(rng, skin, height, width)  # noqa: E731
    lively = rng.uniform(0, 1)
    shoulder = draw_path(rng, x, y, stage.frames, lively=0.5 * lively)
    shoulder = _turned(shoulder, inwards)
    elbow = bending(rng, stage.frames, length, rng.normal(0, 0.5), 0.35 * lively)
    lower = length * rng.uniform(0.7, 1)
    wrist = bending(rng, stage.frames, lower, rng.normal(0, 0.25), 0.3 * lively)
    lower_width, wrist_width = thick * rng.uniform(0.75, 0.95), thick * rng.uniform(0.5, 0.75)
    lower_sleeve = sleeve if rng.random() < 0.5 else bare
    sprites = [
        cut(stage, tapering(length, thick, lower_width, 0.08), sleeve, (shoulder,)),
        cut(stage, hand_outline(rng, wrist_width), bare, (shoulder, elbow, wrist)),
        cut(stage, tapering(lower, lower_width, wrist_width, 0.1), lower_sleeve, (shoulder, elbow)),
    ]
    return Thing(sprites, draw_shadow(rng, thick), nearness=1.1)


def surface_of_cloth(rng: np.random.Generator, stage: Stage) -> Texture:
    """A texture of one cloth for all its pieces."""
    base = colour(rng)
    if rng.random() < 0.6:
        return lambda height, width: shaded(rng, base, height, width)
    piece = surface(rng, stage.assets.photographs, 96, 96)
    return lambda height, width: np.asarray(cv2.resize(piece, (width, height)), np.uint8)


def hand_outline(rng: np.random.Generator, wrist: float) -> np.ndarray:
    """Outline of a palm with fingers together or, sometimes, spread."""
    palm = tapering(wrist * rng.uniform(0.9, 1.3), wrist, wrist * rng.uniform(0.9, 1.2), 0.25)
    if rng.random() < 0.5:
        return palm
    reach = palm[:, 0].max()
    fingers = 1 + 0.3 * np.maximum(0, np.sin(palm[:, 1] / wrist * 14)) * (palm[:, 0] > reach * 0.7)
    return palm * np.stack([fingers, np.ones(len(palm))], 1)


def bending(
    rng: np.random.Generator, frames: int, place: float, angle: float, lively: float
) -> Path:
    """A joint that bends back and forth, at the distance `place` along its parent."""
    return Path(
        place,
        0.0,
        angle=angle,
        origin=frames / 2,
        swing=rng.normal(0, 1) * lively,
        frequency=rng.uniform(0.08, 0.6),
        phase=rng.uniform(0, 2 * np.pi),
    )


def cut(stage: Stage, outline: np.ndarray, texture: Texture, joints: tuple[Path, ...]) -> Sprite:
    """A sprite in the shape of an outline in units around the origin of its path."""
    low, high = outline.min(0), outline.max(0)
    # Parts far outside of the frame are cropped to save pixels.
    extent = max(float((high - low).max()), 1e-3)
    detail = float(min(stage.pixels * _SHARPNESS, _LARGEST / extent))
    width, height = (max(_SUPPORTED, math.ceil(side * detail) + 2) for side in (high - low))
    mask = fill((outline - low) * detail + 1, height, width)
    picture = texture(height, width)
    anchor = tuple(float(a) for a in 1 - low * detail)
    return Sprite(with_alpha(picture, mask), (anchor[0], anchor[1]), 1 / detail, joints)


def _thing(rng: np.random.Generator, sprite: Sprite, size: float) -> Thing:
    if rng.random() < _DEFORMED:
        pad = max(1, round(_MARGIN * max(sprite.picture.shape[:2])))
        sprite.picture = np.asarray(
            cv2.copyMakeBorder(sprite.picture, pad, pad, pad, pad, cv2.BORDER_CONSTANT), np.uint8
        )
        sprite.anchor = (sprite.anchor[0] + pad, sprite.anchor[1] + pad)
        sprite.deformation = draw_deformation(rng)
    return Thing([sprite], draw_shadow(rng, size))


def _windows_and_wheels(rng: np.random.Generator, picture: np.ndarray, front: np.ndarray) -> None:
    (left, top), (right, bottom) = front[0], front[2]
    wide, high = right - left, bottom - top
    glass = tuple(int(c) for c in rng.uniform(20, 110) + rng.uniform(0, 30, 3))
    count = int(rng.integers(1, 5))
    for number in range(count):
        start = left + wide * (0.08 + 0.84 * number / count)
        end = start + wide * 0.84 / count * 0.85
        corners = ((int(start), int(top + 0.12 * high)), (int(end), int(top + 0.45 * high)))
        cv2.rectangle(picture, *corners, glass, -1, cv2.LINE_AA)
    radius = max(1, int(min(0.14 * wide, 0.3 * high)))
    for place in (0.22, 0.78):
        centre = (int(left + place * wide), int(bottom - radius))
        cv2.circle(picture, centre, radius, (25, 25, 28), -1, cv2.LINE_AA)
        cv2.circle(picture, centre, radius // 2, (120, 120, 120), -1, cv2.LINE_AA)


def _turned(path: Path, angle: float) -> Path:
    return Path(**{**path.__dict__, "angle": angle})
