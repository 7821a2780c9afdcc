"""Degradation by camera and codec: blur, noise, chroma subsampling, compression."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, UInt8

_SPARE = 64  # extra rows and columns of the noise table, for a random shift per frame


@dataclass(frozen=True)
class Sensor:
    """A clip's degradation; `shutter` is the exposure as a fraction of the frame interval."""

    seed: int = 0
    shutter: float = 0.0
    blur: float = 0.0  # pixels
    reduced: float = 1.0  # scale of the sides that the resolution is reduced to
    gray: bool = False
    noise: float = 0.0  # levels
    coarse_noise: bool = False
    coarse_colour: bool = False
    quality: int | None = None  # of JPEG

    def seen(self, frame: UInt8[np.ndarray, "h w 3"], time: int) -> UInt8[np.ndarray, "h w 3"]:
        """The recorded image of a frame at a time."""
        height, width = frame.shape[:2]
        if self.reduced < 1:
            less = max(8, round(width * self.reduced)), max(8, round(height * self.reduced))
            small = cv2.resize(frame, less, interpolation=cv2.INTER_AREA)
            frame = np.asarray(cv2.resize(small, (width, height)), np.uint8)
        if self.blur:
            frame = np.asarray(cv2.GaussianBlur(frame, (0, 0), self.blur), np.uint8)
        if self.gray:
            gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            frame = np.asarray(cv2.merge([gray, gray, gray]), np.uint8)
        if self.noise:
            frame = self._noisy(frame, time)
        if self.coarse_colour:
            frame = _coarsely_coloured(frame)
        if self.quality is not None:
            coded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
            frame = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
        return frame

    def _noisy(self, frame: np.ndarray, time: int) -> UInt8[np.ndarray, "h w 3"]:
        height, width = frame.shape[:2]
        shift = np.random.default_rng((self.seed, time)).integers(_SPARE, size=2)
        table = _noise_table(height + _SPARE, width + _SPARE, self.coarse_noise)
        noise = table[shift[0] : shift[0] + height, shift[1] : shift[1] + width]
        return cv2.scaleAdd(noise, self.noise, frame.astype(np.float32)).clip(0, 255).astype("u1")


@lru_cache(maxsize=8)
def _noise_table(height: int, width: int, coarse: bool) -> Float[np.ndarray, "h w 3"]:
    noise = np.random.default_rng(0).standard_normal((height, width, 3), np.float32)
    if coarse:
        noise = cv2.GaussianBlur(noise, (0, 0), 0.8)
        noise = noise / noise.std()
    return noise


def _coarsely_coloured(frame: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """Chroma at half the sides (4:2:0), as in nearly all video."""
    luma, red, blue = cv2.split(cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb))
    height, width = luma.shape
    half = max(1, width // 2), max(1, height // 2)
    chroma = [
        cv2.resize(cv2.resize(c, half, interpolation=cv2.INTER_AREA), (width, height))
        for c in (red, blue)
    ]
    return np.asarray(cv2.cvtColor(cv2.merge([luma, *chroma]), cv2.COLOR_YCrCb2RGB), np.uint8)


def draw_sensor(rng: np.random.Generator) -> Sensor:
    """Sample a clip's degradation; a third of the clips have none."""
    seed = int(rng.integers(2**31))
    if rng.random() < 0.3:
        return Sensor(seed)
    chance = rng.random(7)
    return Sensor(
        seed,
        shutter=rng.uniform(0.3, 1) if chance[0] < 0.4 else 0.0,
        blur=rng.uniform(0.3, 1.1) if chance[1] < 0.3 else 0.0,
        reduced=rng.uniform(0.4, 0.85) if chance[2] < 0.12 else 1.0,
        gray=bool(chance[3] < 0.03),
        noise=rng.uniform(1, 3) * rng.uniform(0.5, 4) if chance[4] < 0.5 else 0.0,
        coarse_noise=bool(rng.random() < 0.4),
        coarse_colour=bool(chance[5] < 0.4),
        quality=int(rng.integers(25, 92)) if chance[6] < 0.3 else None,
    )
