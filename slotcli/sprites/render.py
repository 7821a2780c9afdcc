"""Renders frames and labels of a scene, each frame independently."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Int64, UInt8

from slotcli.sprites.light import lit
from slotcli.sprites.motion import Affine, product
from slotcli.sprites.scene import Assets, Scene, Sprite, Stage, Thing
from slotcli.sprites.worlds import draw_world
from slotcli.types import Clip, Size

MOST_INSTANCES = 24
# Fraction of the frame that an object covers in at least one frame; others are removed. It is
# slightly above the required thousandth, because areas are estimated on a coarse image.
_SMALLEST = 0.0015
_FILLS = 0.8  # fraction of the frame; an object that always covers more is a background
_JUDGED_SIDE = 56  # pixels of the coarse image's shorter side
_JUDGED_TIMES = 5
_SHORTEST_SMEAR = 1.5  # pixels of motion during the exposure; less does not blur
_LONGEST_SMEAR = 15


# Top and left of a part of the frame, and the image [h w 4] there.
_Piece = tuple[tuple[int, int], np.ndarray]


def draw_scene(
    seed: Sequence[int],
    assets: Assets,
    frames: int,
    size: Size,
    *,
    world: str | None = None,
) -> Scene:
    """Sample the scene of a seed, of the named `world` if given, without invisible objects."""
    pixels = (size[0] * size[1]) ** 0.5
    stage = Stage(size[1] / pixels, size[0] / pixels, pixels, frames, assets)
    scene = draw_world(np.random.default_rng(seed), stage, world)
    scene.things = _visible(scene, frames, size)[:MOST_INSTANCES]
    return scene


def render(scene: Scene, times: Sequence[int], size: Size) -> Clip:
    """Frames and labels of a scene at these times."""
    painter = _Painter(scene, size)
    frames = torch.empty(len(times), 3, *size, dtype=torch.uint8)
    labels = torch.empty(len(times), *size, dtype=torch.uint8)
    for index, time in enumerate(times):
        frame, label = painter.paint(time)
        frames[index] = torch.from_numpy(frame.transpose(2, 0, 1))
        labels[index] = torch.from_numpy(label)
    return Clip(frames, labels)


class _Painter:
    def __init__(self, scene: Scene, size: Size) -> None:
        self._scene = scene
        self._size = size
        self._pixels = (size[0] * size[1]) ** 0.5
        self._field = scene.exposure.field(*size)
        self._backdrop: np.ndarray | None = None
        # Cache by sprite of the last transform and image, because many sprites are static.
        self._last: dict[int, tuple[Affine, _Piece | None]] = {}

    def paint(self, time: int) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        scene = self._scene
        frame = self._background(time)
        labels = np.zeros(self._size, np.uint8)
        for number, thing in enumerate(scene.things, start=1):
            pieces = self._pieces(thing, time)
            if thing.shadow is not None:
                for piece in pieces:
                    self._cast(frame, thing, piece)
            for (top, left), picture in pieces:
                height, width = picture.shape[:2]
                alpha = cv2.extractChannel(picture, 3)
                bare = cv2.bitwise_not(alpha)
                under = frame[top : top + height, left : left + width]
                rest = cv2.multiply(under, cv2.merge([bare, bare, bare, bare]), scale=1 / 255)
                cv2.add(rest, picture, dst=under)
                labels[top : top + height, left : left + width][alpha > 127] = number
        frame = cv2.cvtColor(frame, cv2.COLOR_RGBA2RGB)
        if self._field is not None:
            frame = lit(frame, self._field)
        frame = cv2.LUT(frame, scene.exposure.table(time))
        return scene.sensor.seen(np.asarray(frame, np.uint8), time), labels

    def counts(self, time: int) -> Int64[np.ndarray, " n"]:
        """Number of visible pixels of each object at a time."""
        labels = np.zeros(self._size, np.uint8)
        for number, thing in enumerate(self._scene.things, start=1):
            for sprite in thing.sprites:
                piece = self._piece(sprite, self._matrix(sprite, thing.nearness, time), time)
                if piece is not None:
                    (top, left), picture = piece
                    height, width = picture.shape[:2]
                    part = labels[top : top + height, left : left + width]
                    part[cv2.extractChannel(picture, 3) > 127] = number
        return np.bincount(labels.ravel(), minlength=len(self._scene.things) + 1)[1:]

    def _background(self, time: int) -> np.ndarray:
        if self._backdrop is not None and self._scene.camera.still:
            return self._backdrop.copy()
        sprite = self._scene.backdrop
        backdrop = cv2.warpAffine(
            sprite.picture,
            _on_pixels(self._matrix(sprite, 1.0, time)),
            self._size[::-1],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        self._backdrop = np.asarray(backdrop, np.uint8)
        return self._backdrop.copy()

    def _pieces(self, thing: Thing, time: int) -> list[_Piece]:
        pieces = []
        for sprite in thing.sprites:
            piece = self._piece(sprite, self._matrix(sprite, thing.nearness, time), time)
            if piece is None:
                continue
            if self._scene.sensor.shutter:
                picture = self._smeared(sprite, thing.nearness, time, piece[1])
                piece = piece[0], picture
            pieces.append(piece)
        return pieces

    def _piece(self, sprite: Sprite, matrix: Affine, time: int) -> _Piece | None:
        last = self._last.get(id(sprite))
        if last is not None and last[0] == matrix and sprite.deformation is None:
            return last[1]
        piece = warped(sprite, matrix, self._size, time)
        self._last[id(sprite)] = matrix, piece
        return piece

    def _matrix(self, sprite: Sprite, nearness: float, time: int | float) -> Affine:
        matrix = product(self._scene.camera.matrix(time, nearness), sprite.matrix(time))
        a, b, c, d, e, f = (self._pixels * value for value in matrix)
        return a, b, c, d, e, f

    def _smeared(
        self, sprite: Sprite, nearness: float, time: int, picture: np.ndarray
    ) -> np.ndarray:
        """A warped image, blurred along the motion of its centre during the exposure."""
        y, x = (side / 2 for side in sprite.picture.shape[:2])
        open_for = self._scene.sensor.shutter / 2
        first = self._matrix(sprite, nearness, time - open_for)
        last = self._matrix(sprite, nearness, time + open_for)
        a, b, c, d, e, f = (after - before for before, after in zip(first, last, strict=True))
        across, down = a * x + b * y + c, d * x + e * y + f
        if math.hypot(across, down) < _SHORTEST_SMEAR:
            return picture
        way = np.clip([across, down], -_LONGEST_SMEAR, _LONGEST_SMEAR)
        side = 2 * int(np.ceil(np.abs(way).max() / 2)) + 1
        kernel = np.zeros((side, side), np.uint8)
        points = (np.array([-way, way]) / 2 + side // 2) * 16
        start, end = (tuple(int(c) for c in point.round()) for point in points)
        cv2.line(kernel, start, end, 255, 1, cv2.LINE_AA, 4)
        weights = kernel.astype(np.float32) / max(1, int(kernel.sum()))
        return cv2.filter2D(picture, -1, weights, borderType=cv2.BORDER_REPLICATE)

    def _cast(self, frame: np.ndarray, thing: Thing, piece: _Piece) -> None:
        """Darkens the frame under an object's shadow."""
        shadow = thing.shadow
        assert shadow is not None
        (top, left), picture = piece
        soft = max(1, round(shadow.softness * self._pixels))
        pad = 2 * soft
        alpha = cv2.copyMakeBorder(
            cv2.extractChannel(picture, 3), pad, pad, pad, pad, cv2.BORDER_CONSTANT
        )
        alpha = cv2.blur(cv2.blur(alpha, (2 * soft + 1,) * 2), (soft + 1,) * 2)
        top += round(shadow.offset[1] * self._pixels) - pad
        left += round(shadow.offset[0] * self._pixels) - pad
        height, width = self._size
        first, last = max(0, top), min(height, top + alpha.shape[0])
        begin, end = max(0, left), min(width, left + alpha.shape[1])
        if first >= last or begin >= end:
            return
        seen = np.ascontiguousarray(alpha[first - top : last - top, begin - left : end - left])
        light = cv2.convertScaleAbs(seen, alpha=-shadow.strength, beta=255)
        under = frame[first:last, begin:end]
        under[:] = cv2.multiply(under, cv2.merge([light, light, light, light]), scale=1 / 255)


def warped(sprite: Sprite, matrix: Affine, size: Size, time: int | float) -> _Piece | None:
    """Top and left of the part of the frame that a sprite covers, and its image there."""
    picture, matrix = _at_scale(sprite, matrix)
    height, width = picture.shape[:2]
    a, b, c, d, e, f = matrix
    xs = (c, c + a * width, c + b * height, c + a * width + b * height)
    ys = (f, f + d * width, f + e * height, f + d * width + e * height)
    left, right = max(0, math.floor(min(xs)) - 1), min(size[1], math.ceil(max(xs)) + 1)
    top, bottom = max(0, math.floor(min(ys)) - 1), min(size[0], math.ceil(max(ys)) + 1)
    if left >= right or top >= bottom:
        return None
    if sprite.deformation is not None:
        picture = sprite.deformation.displaced(picture, time)
    part = cv2.warpAffine(
        picture,
        _on_pixels((a, b, c - left, d, e, f - top)),
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )
    return (top, left), np.asarray(part, np.uint8)


def _at_scale(sprite: Sprite, matrix: Affine) -> tuple[np.ndarray, Affine]:
    """The image at the mip level of at most twice the rendered resolution, and its matrix."""
    a, b, c, d, e, f = matrix
    shown = abs(a * e - b * d) ** 0.5
    picture = sprite.picture
    level = 0
    while shown * 2**level < 0.6 and min(picture.shape[:2]) >= 4:
        if level == len(sprite.smaller):
            half = picture.shape[1] // 2, picture.shape[0] // 2
            smaller = cv2.resize(picture, half, interpolation=cv2.INTER_AREA)
            sprite.smaller.append(np.asarray(smaller, np.uint8))
        picture = sprite.smaller[level]
        level += 1
    wider = sprite.picture.shape[1] / picture.shape[1]
    higher = sprite.picture.shape[0] / picture.shape[0]
    return picture, (a * wider, b * higher, c, d * wider, e * higher, f)


def _on_pixels(matrix: Affine) -> np.ndarray:
    """Converts a matrix to OpenCV's convention, with integers at pixel centres, not corners."""
    a, b, c, d, e, f = matrix
    return np.array([[a, b, c + (a + b - 1) / 2], [d, e, f + (d + e - 1) / 2]])


def _visible(scene: Scene, frames: int, size: Size) -> list[Thing]:
    """The objects that are visible in some frame, and do not fill all frames."""
    if not scene.things:
        return []
    shrink = min(1.0, _JUDGED_SIDE / min(size))
    small = (max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink)))
    painter = _Painter(scene, small)
    times = sorted(set(np.linspace(0, frames - 1, _JUDGED_TIMES).round().astype(int)))
    counts = np.stack([painter.counts(int(time)) for time in times])
    shares = counts / (small[0] * small[1])
    seen = (shares.max(0) >= _SMALLEST) & (shares.min(0) <= _FILLS)
    return [thing for thing, keep in zip(scene.things, seen, strict=True) if keep]
