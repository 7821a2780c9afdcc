"""Human-like figures: a head, a trunk and swinging limbs, all with one label."""

from dataclasses import replace

import cv2
import numpy as np

from slotcli.sprites.appearance import colour, shaded, skin_colour
from slotcli.sprites.light import draw_shadow
from slotcli.sprites.motion import Path
from slotcli.sprites.scene import Sprite, Stage, Thing
from slotcli.sprites.shapes import rounded_box, tapering
from slotcli.sprites.things import Texture, bending, cut, hand_outline, surface_of_cloth

HEAD = -0.44  # centre of the head, in a figure of height 1 around its hips


def figure(
    rng: np.random.Generator, stage: Stage, size: float, path: Path, *, gait: float
) -> Thing:
    """A figure of height `size` whose hips follow `path`; `gait` is the swing of its limbs."""
    skin = skin_colour(rng)
    bare: Texture = lambda height, width: shaded(rng, skin, height, width)  # noqa: E731
    shirt, trousers = surface_of_cloth(rng, stage), surface_of_cloth(rng, stage)
    broad = size * rng.uniform(0.2, 0.34)
    thick = size * rng.uniform(0.055, 0.09)
    rate = replace(
        bending(rng, stage.frames, 0.0, 0.0, gait), swing=gait, frequency=rng.uniform(0.2, 0.7)
    )
    trunk = cut(
        stage,
        _trunk(rng, broad, 0.4 * size) + np.array([0, -0.17 * size]),
        shirt,
        (path,),
    )
    sleeve = shirt if rng.random() < 0.7 else bare
    legs = trousers if rng.random() < 0.85 else bare
    far, near = (
        [
            *_limb(
                rng,
                stage,
                path,
                (sign * 0.22 * broad, 0.0),
                0.5 * size,
                thick * 1.3,
                (legs, legs),
                _opposite(rate, sign),
                lean=0.0,
                hand=None,
            ),
            *_limb(
                rng,
                stage,
                path,
                (sign * 0.46 * broad, -0.32 * size),
                0.4 * size,
                thick,
                (shirt, sleeve),
                _opposite(rate, -sign),
                lean=-sign * abs(rng.normal(0.1, 0.3)),
                hand=bare,
            ),
        ]
        for sign in (-1.0, 1.0)
    )
    neck = cut(
        stage,
        tapering(0.12 * size, thick, thick),
        bare,
        (path, Path(0.0, -0.3 * size, angle=-np.pi / 2)),
    )
    nod = bending(rng, stage.frames, 0.0, rng.normal(0, 0.08), 0.06)
    head = _head(
        rng,
        stage,
        size * rng.uniform(0.13, 0.19),
        skin,
        bare,
        (path, replace(nod, x=0.0, y=HEAD * size)),
    )
    sprites = [*far[:2], *near[:2], *far[2:], trunk, neck, head, *near[2:]]
    return Thing(sprites, draw_shadow(rng, 0.4 * size), nearness=1.05)


def _trunk(rng: np.random.Generator, broad: float, high: float) -> np.ndarray:
    outline = rounded_box(rng, 1.0) / 0.96
    waist = 1 - rng.uniform(0, 0.3) * (outline[:, 1] + 0.5)
    return outline * np.stack([broad * waist, np.full(len(outline), high)], 1)


def _opposite(path: Path, sign: float) -> Path:
    return replace(path, swing=sign * path.swing)


def _limb(
    rng: np.random.Generator,
    stage: Stage,
    body: Path,
    place: tuple[float, float],
    length: float,
    thick: float,
    textures: tuple[Texture, Texture],
    rate: Path,
    *,
    lean: float,
    hand: Texture | None,
) -> list[Sprite]:
    """Two or three sprites, the outermost first."""
    half = length / 2
    root = replace(rate, x=place[0], y=place[1], angle=np.pi / 2 + lean)
    bend = rng.normal(0, 0.15) if hand is None else rng.normal(0, 0.8)
    middle = replace(
        rate, x=half, y=0.0, angle=bend, swing=0.5 * rate.swing, phase=rate.phase + 1.0
    )
    upper = cut(stage, tapering(half, thick, 0.85 * thick), textures[0], (body, root))
    lower = cut(stage, tapering(half, 0.85 * thick, 0.6 * thick), textures[1], (body, root, middle))
    if hand is None:
        return [lower, upper]
    end = Path(half, 0.0, angle=rng.normal(0, 0.3))
    held = cut(stage, hand_outline(rng, 0.65 * thick), hand, (body, root, middle, end))
    return [lower, upper, held]


def _head(
    rng: np.random.Generator,
    stage: Stage,
    size: float,
    skin: np.ndarray,
    bare: Texture,
    joints: tuple[Path, ...],
) -> Sprite:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    flat = rng.uniform(0.68, 0.85)
    jaw = 1 - 0.15 * np.maximum(0, np.sin(angles)) ** 2
    outline = size / 2 * np.stack([flat * jaw * np.cos(angles), np.sin(angles)], 1)
    hair = colour(rng) * rng.uniform(0.1, 0.7)
    turned = rng.normal(0, 0.12)
    faces = rng.random() < 0.75

    def texture(height: int, width: int) -> np.ndarray:
        picture = bare(height, width)
        cap = shaded(rng, hair, height, width)
        line = height * rng.uniform(0.12, 0.4)
        y, x = np.mgrid[0:height, 0:width]
        beside = np.abs(x / width - 0.5 - turned) > rng.uniform(0.36, 0.55)
        covered = (y < line) | (beside & (y < height * rng.uniform(0.4, 1)))
        picture[covered | (not faces)] = cap[covered | (not faces)]
        if faces:
            _face(rng, picture, width * (0.5 + turned), skin)
        return picture

    return cut(stage, outline, texture, joints)


def _face(rng: np.random.Generator, picture: np.ndarray, middle: float, skin: np.ndarray) -> None:
    height, width = picture.shape[:2]
    dark = tuple(float(c) for c in skin * rng.uniform(0.1, 0.4))
    lips = tuple(float(c) for c in skin * (0.85, 0.45, 0.45))
    for sign in (-1, 1):
        eye = (round(middle + sign * 0.17 * width), round(0.46 * height))
        axes = (max(1, width // 14), max(1, height // 26))
        cv2.ellipse(picture, eye, axes, 0, 0, 360, dark, -1, cv2.LINE_AA)
        brow = (eye[0], round(0.38 * height))
        cv2.ellipse(picture, brow, (axes[0] + 1, axes[1]), 0, 180, 360, dark, 1, cv2.LINE_AA)
    nose = (round(middle), round(0.58 * height))
    shade = tuple(float(c) for c in skin * 0.7)
    cv2.ellipse(picture, nose, (max(1, width // 18), max(1, height // 14)), 0, 0, 180, shade, -1)
    mouth = (round(middle), round(0.74 * height))
    axes = (max(1, width // 8), max(1, height // 36))
    cv2.ellipse(picture, mouth, axes, 0, 0, 360, lips, -1, cv2.LINE_AA)
