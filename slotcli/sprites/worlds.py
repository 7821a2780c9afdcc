"""The kinds of worlds that scenes are sampled from, and their objects."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from slotcli.sprites.appearance import (
    colour,
    jittered,
    photograph_piece,
    shaded,
    with_alpha,
)
from slotcli.sprites.camera import Camera, draw_camera
from slotcli.sprites.figures import HEAD, figure
from slotcli.sprites.light import draw_exposure
from slotcli.sprites.motion import Path, draw_crossing, draw_path
from slotcli.sprites.scene import Scene, Sprite, Stage, Thing
from slotcli.sprites.sensor import draw_sensor
from slotcli.sprites.things import (
    arm,
    box,
    cut_photograph,
    large_region,
    pictured,
    shaped,
)

# Fractions of clips. With pasted objects only, a model learns that everything large is background;
# regions, close-ups and worlds without a separate backdrop generalise to real footage.
SHARES = {
    "sprites": 0.24,
    "regions": 0.26,
    "leaves": 0.16,
    "close": 0.16,
    "street": 0.15,
    "empty": 0.03,
}
_MOST_LEAVES = 20

World = Callable[[np.random.Generator, Stage], tuple[Sprite, list[Thing], Camera]]


def draw_world(rng: np.random.Generator, stage: Stage, world: str | None = None) -> Scene:
    """Sample a scene of a random kind, or of the given `world`."""
    drawn = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    backdrop, things, camera = _WORLDS[world or drawn](rng, stage)
    return Scene(
        backdrop, things, camera, draw_exposure(rng, _brightness(backdrop)), draw_sensor(rng)
    )


def _sprites(rng: np.random.Generator, stage: Stage) -> tuple[Sprite, list[Thing], Camera]:
    camera = draw_camera(rng, stage.width, stage.height, stage.frames, moving=0.5)
    count = int(rng.integers(1, 10))
    largest = 1.1 if count <= 3 else 0.75 if count <= 6 else 0.45
    things = [_any_thing(rng, stage, _size(rng, 0.08, largest)) for _ in range(count)]
    return _backdrop(rng, stage, camera), things, camera


def _regions(rng: np.random.Generator, stage: Stage) -> tuple[Sprite, list[Thing], Camera]:
    camera = draw_camera(rng, stage.width, stage.height, stage.frames, moving=0.45)
    things: list[Thing] = []
    for _ in range(int(rng.choice([1, 1, 2, 2, 3]))):
        lively = 0.5 if rng.random() < 0.25 else 0.0
        things.append(
            large_region(rng, stage, draw_path(rng, 0.0, 0.0, stage.frames, lively=lively))
        )
    above = [arm(rng, stage) for _ in range(int(rng.choice([0, 0, 1, 1, 2])))]
    count = int(rng.integers(1, 7))
    largest = 0.9 if count <= 3 else 0.5
    above += [_any_thing(rng, stage, _size(rng, 0.08, largest)) for _ in range(count)]
    order = rng.permutation(len(above))
    return _backdrop(rng, stage, camera), things + [above[index] for index in order], camera


def _leaves(rng: np.random.Generator, stage: Stage) -> tuple[Sprite, list[Thing], Camera]:
    """Dead leaves: overlapping pieces of photographs that hide most of the backdrop."""
    camera = draw_camera(rng, stage.width, stage.height, stage.frames, moving=0.6)
    wanted = rng.uniform(0.9, 3.0)  # total area over the frame's; e^-wanted stays uncovered
    smallest = rng.uniform(0.1, 0.35)
    moving = rng.uniform(0, 1)
    things: list[Thing] = []
    area = 0.0
    while area < wanted and len(things) < _MOST_LEAVES:
        # Sizes follow the power law of natural images, 1 / size^3.
        share = rng.uniform()
        size = (smallest**-2 * (1 - share) + 1.1**-2 * share) ** -0.5
        area += 0.55 * size**2
        lively = 0.6 if rng.random() < moving else 0.0
        path = _placed(rng, stage, lively, size)
        kind = rng.random()
        make = cut_photograph if kind < 0.7 else shaped if kind < 0.88 else pictured
        things.append(make(rng, stage, size, path))
    return _backdrop(rng, stage, camera), things, camera


def _close(rng: np.random.Generator, stage: Stage) -> tuple[Sprite, list[Thing], Camera]:
    """One to three large objects, nearly static, before a static camera."""
    camera = draw_camera(rng, stage.width, stage.height, stage.frames, moving=0.15)
    things: list[Thing] = []
    if rng.random() < 0.45:
        things.append(large_region(rng, stage, Path(0.0, 0.0)))
    count = int(rng.choice([1, 1, 2, 2, 3]))
    places = (np.arange(count) + rng.uniform(0.2, 0.8, count)) / count * stage.width
    for x in rng.permutation(places):
        if rng.random() < 0.5:
            size = rng.uniform(1.2, 2.8) / (1 + 0.25 * (count - 1))
            y = stage.height * rng.uniform(0.22, 0.5) - HEAD * size
            path = draw_path(rng, x, y, stage.frames, lively=0.12)
            path = replace(path, growth=0.2 * path.growth, spin=0.0)
            things.append(figure(rng, stage, size, path, gait=rng.uniform(0, 0.12)))
            continue
        size = rng.uniform(0.4, 1.15) / (1 + 0.25 * (count - 1))
        y = stage.height * rng.uniform(0.35, 0.9)
        path = draw_path(rng, x, y, stage.frames, lively=0.2)
        path = replace(path, angle=rng.normal(0, 0.15))
        make = (pictured, shaped, box)[int(rng.choice(3, p=[0.45, 0.3, 0.25]))]
        things.append(make(rng, stage, size, path))
    if rng.random() < 0.3:
        things.append(arm(rng, stage))
    if rng.random() < 0.3:
        things.append(_any_thing(rng, stage, _size(rng, 0.1, 0.3), lively=0.3))
    return _backdrop(rng, stage, camera, blurred=0.5), things, camera


def _street(rng: np.random.Generator, stage: Stage) -> tuple[Sprite, list[Thing], Camera]:
    """Many small moving objects over a static image; lower ones are in front."""
    camera = draw_camera(rng, stage.width, stage.height, stage.frames, moving=0.1)
    scale = _size(rng, 0.06, 0.14)
    horizon = rng.uniform(0, 0.5)
    placed: list[tuple[float, Thing]] = []
    for _ in range(int(rng.integers(3, 17))):
        depth = rng.uniform()
        y = stage.height * (horizon + (0.98 - horizon) * depth)
        size = float(np.clip(scale * (0.6 + 0.8 * depth) * rng.uniform(0.8, 1.2), 0.05, 0.16))
        x = rng.uniform(0, stage.width)
        speed = rng.choice([-1, 1]) * np.exp(rng.uniform(np.log(0.001), np.log(0.03)))
        if rng.random() < 0.2:
            speed = 0.0
        path = Path(x, y, origin=stage.frames / 2, velocity=(speed, speed * rng.normal(0, 0.2)))
        if rng.random() < 0.2:
            path = replace(path, stop=rng.uniform(0.2, 0.9) * stage.frames)
        kind = rng.random()
        if kind < 0.45:
            gait = rng.uniform(0.2, 0.7) if speed else 0.05
            thing = figure(rng, stage, 1.2 * size, path, gait=gait)
        elif kind < 0.65:
            thing = box(rng, stage, size, path)
        elif kind < 0.9:
            thing = pictured(rng, stage, size, path)
        else:
            thing = shaped(rng, stage, size, path)
        placed.append((y, thing))
    placed.sort(key=lambda pair: pair[0])
    backdrop = _backdrop(rng, stage, camera, blurred=0.1, zoom=(0.4, 1.0))
    return backdrop, [thing for _, thing in placed], camera


def _brightness(backdrop: Sprite) -> float:
    return float(np.mean(cv2.mean(backdrop.picture)[:3]))


def _empty(rng: np.random.Generator, stage: Stage) -> tuple[Sprite, list[Thing], Camera]:
    camera = draw_camera(rng, stage.width, stage.height, stage.frames, moving=0.6)
    return _backdrop(rng, stage, camera), [], camera


_WORLDS: dict[str, World] = {
    "sprites": _sprites,
    "regions": _regions,
    "leaves": _leaves,
    "close": _close,
    "street": _street,
    "empty": _empty,
}


def _any_thing(rng: np.random.Generator, stage: Stage, size: float, lively: float = 1.0) -> Thing:
    path = _placed(rng, stage, lively, size)
    kind = rng.random()
    if kind < 0.12:
        path = replace(path, angle=rng.normal(0, 0.1), spin=0.3 * path.spin)
        return figure(rng, stage, size, path, gait=rng.uniform(0, 0.6))
    if kind < 0.22:
        return box(rng, stage, size, replace(path, angle=rng.normal(0, 0.15)))
    if kind < 0.68:
        return pictured(rng, stage, size, path)
    if kind < 0.85:
        return shaped(rng, stage, size, path)
    return cut_photograph(rng, stage, size, path)


def _placed(rng: np.random.Generator, stage: Stage, lively: float, size: float) -> Path:
    """A path anywhere in the frame or across its border; a fifth of the moving ones cross it."""
    if lively and rng.random() < 0.2:
        path = draw_crossing(rng, stage.width, stage.height, stage.frames, lively)
    else:
        x, y = rng.uniform(-0.03, 1.03, 2) * (stage.width, stage.height)
        # Large objects are slower, as in perspective.
        path = draw_path(rng, x, y, stage.frames, lively=lively / (1 + size))
    turned = rng.normal(0, 0.35) if rng.random() < 0.75 else rng.uniform(0, 2 * np.pi)
    return replace(path, angle=turned)


def _size(rng: np.random.Generator, smallest: float, largest: float) -> float:
    return float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))


def _backdrop(
    rng: np.random.Generator,
    stage: Stage,
    camera: Camera,
    *,
    blurred: float = 0.45,
    zoom: tuple[float, float] = (0.1, 0.6),
) -> Sprite:
    margin = 1.0 if camera.still else 1.3
    height = max(4, round(margin * stage.height * stage.pixels))
    width = max(4, round(margin * stage.width * stage.pixels))
    if rng.random() < 0.1:
        picture = shaded(rng, colour(rng), height, width)
    else:
        picture = photograph_piece(rng, stage.assets.photographs, height, width, zoom)
        if rng.random() < 0.6:
            picture = jittered(rng, picture)
    if rng.random() < blurred:
        radius = np.exp(rng.uniform(np.log(0.006), np.log(0.05))) * stage.pixels
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), radius), np.uint8)
    opaque = np.full((height, width), 255, np.uint8)
    middle = Path(stage.width / 2, stage.height / 2)
    anchor = (width / 2, height / 2)
    return Sprite(with_alpha(picture, opaque), anchor, 1 / stage.pixels, (middle,))
