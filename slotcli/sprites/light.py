"""Light: shadows of objects on lower layers, and exposure over the frame and over time."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

_FIELD_LEVEL = 160  # level of the u8 light field with a gain of 1


@dataclass(frozen=True)
class Shadow:
    """Offset and softness in units of the root of the frame's area."""

    offset: tuple[float, float]
    softness: float
    strength: float


@dataclass(frozen=True)
class Exposure:
    """Gain per channel and gamma; `drift` and `flicker` change the gain over time."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    drift: float = 0.0
    flicker: float = 0.0
    phase: float = 0.0
    slope: tuple[float, float] = (0.0, 0.0)  # of light across the frame
    vignette: float = 0.0

    def table(self, time: int | float) -> UInt8[np.ndarray, "1 256 3"]:
        """Lookup table from input to output level per channel."""
        change = self.drift * np.sin(0.13 * time + self.phase)
        change += self.flicker * np.sin(2.9 * time + self.phase)
        levels = np.linspace(0, 1, 256)[:, None] * np.array(self.gain) * np.exp(change)
        return np.round(255 * np.clip(levels, 0, 1) ** self.gamma).astype(np.uint8)[None]

    def field(self, height: int, width: int) -> UInt8[np.ndarray, "h w 3"] | None:
        """Light field for `lit`, the gain of each pixel; None if it is uniform."""
        if not self.vignette and not any(self.slope):
            return None
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
        light = 1 + self.slope[0] * x + self.slope[1] * y - self.vignette * (x * x + y * y) / 2
        level = np.clip(_FIELD_LEVEL * light, 0, 255).astype(np.uint8)
        return cv2.merge([level, level, level])


def lit(frame: np.ndarray, field: np.ndarray) -> np.ndarray:
    """The frame multiplied by a light field."""
    return cv2.multiply(frame, field, scale=1 / _FIELD_LEVEL)


def draw_shadow(rng: np.random.Generator, size: float) -> Shadow | None:
    """Sample the shadow of an object of this size; half of the objects have none."""
    if rng.random() < 0.5:
        return None
    reach = size * rng.uniform(0, 0.2)
    angle = rng.uniform(-0.2, 1.2) * np.pi  # mostly downwards: light comes from above
    return Shadow(
        (reach * np.cos(angle), reach * np.sin(angle)),
        size * rng.uniform(0.02, 0.12),
        rng.uniform(0.15, 0.65),
    )


def draw_exposure(rng: np.random.Generator, brightness: float) -> Exposure:
    """Sample a clip's exposure for a mean level `brightness`; it seldom changes over time."""
    gain = rng.uniform(0.88, 1.12, 3) * rng.uniform(0.75, 1.2)
    # As with auto-exposure, no frame is black or white as a whole.
    gain = (
        gain * np.clip(60 / max(brightness, 1), 1, 2.5) * np.clip(190 / max(brightness, 1), 0.6, 1)
    )
    changing = rng.random() < 0.25
    uneven = rng.random() < 0.35
    slope = rng.normal(0, 0.15, 2) * uneven
    return Exposure(
        (float(gain[0]), float(gain[1]), float(gain[2])),
        float(np.exp(rng.normal(0, 0.18))),
        drift=rng.normal(0, 0.1) * changing,
        flicker=rng.normal(0, 0.03) * changing,
        phase=rng.uniform(0, 2 * np.pi),
        slope=(float(slope[0]), float(slope[1])),
        vignette=rng.uniform(0, 0.5) * uneven,
    )
