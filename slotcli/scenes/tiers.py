"""Distributions of scenes (tiers), from easy to hard, and the held-out ones."""

from dataclasses import dataclass

from slotcli.scenes.backdrop import TRAINING_GROUNDS, UNSEEN_GROUNDS
from slotcli.scenes.shapes import TRAINING_SHAPES, UNSEEN_SHAPES
from slotcli.scenes.textures import TRAINING_PATTERNS, UNSEEN_PATTERNS


@dataclass(frozen=True)
class Tier:
    """A distribution of scenes."""

    objects: tuple[int, int]  # fewest and most
    shapes: tuple[str, ...] = TRAINING_SHAPES
    patterns: tuple[str, ...] = TRAINING_PATTERNS
    grounds: tuple[str, ...] = TRAINING_GROUNDS  # empty: one colour everywhere
    resting: float = 0.12  # fraction of objects that only a collision moves
    camera_speed: tuple[float, float] = (0.0, 0.0)  # metres per second


TIERS: dict[str, Tier] = {
    "A": Tier((3, 6), patterns=("plain",), grounds=()),
    "C": Tier((3, 10)),
    "E": Tier((3, 14), camera_speed=(0.3, 2.0)),
    "unseen-shapes": Tier((3, 10), shapes=UNSEEN_SHAPES),
    "unseen-textures": Tier((3, 10), patterns=UNSEEN_PATTERNS, grounds=UNSEEN_GROUNDS),
    "crowd": Tier((6, 20)),
    "static": Tier((3, 10), resting=1.0),
}
