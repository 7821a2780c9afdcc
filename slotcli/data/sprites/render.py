"""Draws frames and labels of a scene, any frame by itself."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Int64, UInt8

from slotcli.data.sprites.light import lit
from slotcli.data.sprites.motion import Matrix
from slotcli.data.sprites.scene import Assets, Scene, Sprite, Stage, Thing
from slotcli.data.sprites.worlds import draw_world
from slotcli.types import Clip, Size

MOST_INSTANCES = 24
# Of the frame, in some frame of the clip: what is never seen to cover as much is not drawn. A
# little above the thousandth that is asked for, since it is judged on a coarse picture.
_SMALLEST = 0.0015
_FILLS = 0.8  # of the frame at all times: what covers more is what a background is
_JUDGED_SIDE = 56  # pixels of the coarse picture's shorter side
_JUDGED_TIMES = 6
_SHORTEST_SMEAR = 1.5  # pixels of motion in the shutter's time that blur
_LONGEST_SMEAR = 15


def draw_scene(
    seed: Sequence[int],
    assets: Assets,
    frames: int,
    size: Size,
    *,
    world: str | None = None,
) -> Scene:
    """The scene of a seed, without things that are never seen; of the `world` that is named."""
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
    for place, time in enumerate(times):
        frame, label = painter.paint(time)
        frames[place] = torch.from_numpy(frame.transpose(2, 0, 1))
        labels[place] = torch.from_numpy(label)
    return Clip(frames, labels)


class _Painter:
    def __init__(self, scene: Scene, size: Size) -> None:
        self._scene = scene
        self._size = size
        self._pixels = (size[0] * size[1]) ** 0.5
        self._field = scene.exposure.field(*size)
        self._backdrop: np.ndarray | None = None

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
                colours, alpha = picture[..., :3], picture[..., 3]
                under = frame[top : top + height, left : left + width]
                bare = 255 - alpha
                rest = cv2.multiply(under, cv2.merge([bare, bare, bare]), scale=1 / 255)
                under[:] = cv2.add(rest, np.ascontiguousarray(colours))
                labels[top : top + height, left : left + width][alpha > 127] = number
        if self._field is not None:
            frame = lit(frame, self._field)
        frame = cv2.LUT(frame, scene.exposure.table(time))
        return scene.sensor.seen(np.asarray(frame, np.uint8), time), labels

    def counts(self, time: int) -> Int64[np.ndarray, " n"]:
        """How many pixels each thing shows at a time."""
        labels = np.zeros(self._size, np.uint8)
        for number, thing in enumerate(self._scene.things, start=1):
            for sprite in thing.sprites:
                matrix = self._matrix(sprite, thing.nearness, time)
                piece = warped(sprite, matrix, self._size, time)
                if piece is not None:
                    (top, left), picture = piece
                    height, width = picture.shape[:2]
                    part = labels[top : top + height, left : left + width]
                    part[picture[..., 3] > 127] = number
        return np.bincount(labels.ravel(), minlength=len(self._scene.things) + 1)[1:]

    def _background(self, time: int) -> np.ndarray:
        if self._backdrop is not None and self._scene.camera.still:
            return self._backdrop.copy()
        sprite = self._scene.backdrop
        matrix = _on_pixels(self._matrix(sprite, 1.0, time))
        warped = cv2.warpAffine(
            sprite.picture,
            matrix[:2],
            self._size[::-1],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        self._backdrop = cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB)
        return self._backdrop.copy()

    def _pieces(self, thing: Thing, time: int) -> list[tuple[tuple[int, int], np.ndarray]]:
        pieces = []
        for sprite in thing.sprites:
            matrix = self._matrix(sprite, thing.nearness, time)
            piece = warped(sprite, matrix, self._size, time)
            if piece is None:
                continue
            if self._scene.sensor.shutter:
                picture = self._smeared(sprite, thing.nearness, time, piece[1])
                piece = piece[0], picture
            pieces.append(piece)
        return pieces

    def _matrix(self, sprite: Sprite, nearness: float, time: float) -> Matrix:
        matrix = self._scene.camera.matrix(time, nearness) @ sprite.matrix(time)
        return np.diag([self._pixels, self._pixels, 1.0]) @ matrix

    def _smeared(
        self, sprite: Sprite, nearness: float, time: int, picture: np.ndarray
    ) -> np.ndarray:
        """A warped picture blurred along its middle's motion while the shutter is open."""
        height, width = sprite.picture.shape[:2]
        middle = np.array([width / 2, height / 2, 1])
        open_for = self._scene.sensor.shutter / 2
        ends = [
            self._matrix(sprite, nearness, time + end) @ middle for end in (-open_for, open_for)
        ]
        way = np.clip((ends[1] - ends[0])[:2], -_LONGEST_SMEAR, _LONGEST_SMEAR)
        length = np.hypot(*way)
        if length < _SHORTEST_SMEAR:
            return picture
        side = 2 * int(np.ceil(np.abs(way).max() / 2)) + 1
        kernel = np.zeros((side, side), np.uint8)
        points = (np.array([-way, way]) / 2 + side // 2) * 16
        start, end = (tuple(int(round(c)) for c in point) for point in points)
        cv2.line(kernel, start, end, 255, 1, cv2.LINE_AA, 4)
        weights = kernel.astype(np.float32) / max(1, int(kernel.sum()))
        return cv2.filter2D(picture, -1, weights, borderType=cv2.BORDER_REPLICATE)

    def _cast(
        self, frame: np.ndarray, thing: Thing, piece: tuple[tuple[int, int], np.ndarray]
    ) -> None:
        """Darkens what lies under a thing's shadow."""
        shadow = thing.shadow
        assert shadow is not None
        (top, left), picture = piece
        soft = max(1, round(shadow.softness * self._pixels))
        pad = 2 * soft
        alpha = cv2.copyMakeBorder(picture[..., 3], pad, pad, pad, pad, cv2.BORDER_CONSTANT)
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
        under[:] = cv2.multiply(under, cv2.merge([light, light, light]), scale=1 / 255)


def warped(
    sprite: Sprite, matrix: Matrix, size: Size, time: float
) -> tuple[tuple[int, int], UInt8[np.ndarray, "h w 4"]] | None:
    """A sprite's picture in the part of the frame where it is, and that part's top and left."""
    picture, matrix = _at_scale(sprite, matrix)
    height, width = picture.shape[:2]
    corners = matrix[:2] @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    low = np.maximum(np.floor(corners.min(1)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(corners.max(1)).astype(int) + 1, size[::-1])
    if (low >= high).any():
        return None
    if sprite.deformation is not None:
        picture = sprite.deformation.displaced(picture, time)
    matrix = _on_pixels(matrix)
    matrix[:2, 2] -= low
    part = cv2.warpAffine(
        picture,
        matrix[:2],
        (int(high[0] - low[0]), int(high[1] - low[1])),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )
    return (int(low[1]), int(low[0])), np.asarray(part, np.uint8)


def _at_scale(sprite: Sprite, matrix: Matrix) -> tuple[np.ndarray, Matrix]:
    """The picture halved until it is at most twice as fine as it is shown, and its matrix."""
    shown = abs(np.linalg.det(matrix[:2, :2])) ** 0.5
    picture = sprite.picture
    level = 0
    while shown * 2**level < 0.6 and min(picture.shape[:2]) >= 4:
        if level == len(sprite.smaller):
            half = picture.shape[1] // 2, picture.shape[0] // 2
            smaller = cv2.resize(picture, half, interpolation=cv2.INTER_AREA)
            sprite.smaller.append(np.asarray(smaller, np.uint8))
        picture = sprite.smaller[level]
        level += 1
    if not level:
        return picture, matrix
    whole = sprite.picture.shape
    scale = [whole[1] / picture.shape[1], whole[0] / picture.shape[0], 1.0]
    return picture, matrix @ np.diag(scale)


def _on_pixels(matrix: Matrix) -> Matrix:
    """For whole numbers at pixels' middles, as OpenCV counts, instead of at their corners."""
    shifted = matrix.copy()
    shifted[:2, 2] += matrix[:2, :2] @ (0.5, 0.5) - 0.5
    return shifted


def _visible(scene: Scene, frames: int, size: Size) -> list[Thing]:
    """The things that are seen in some frame, and do not fill all of them."""
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
