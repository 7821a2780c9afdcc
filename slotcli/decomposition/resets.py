"""When a clip's slots are initialised again, and which new slot continues which old one."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, Int64, UInt8

from slotcli.errors import UsageError

_MIN_SCENE = 15  # frames; two cuts closer than this are a flash
_SIDE = 256  # pixels: cuts show at any size, and small frames are fast
_ANY_RATE = 25.0  # frames are counted, not timed


class CutFinder:
    """Detects, frame by frame, whether a new scene of a clip begins.

    By the mean change of hue, saturation and value, with PySceneDetect's own threshold.
    """

    def __init__(self) -> None:
        # Few runs look for cuts, and this import takes half a second.
        from scenedetect import FrameTimecode
        from scenedetect.detector import FlashFilter
        from scenedetect.detectors import ContentDetector

        self._timecode = FrameTimecode
        self._frames = 0
        self._detector = ContentDetector(
            min_scene_len=_MIN_SCENE, filter_mode=FlashFilter.Mode.SUPPRESS
        )

    def is_cut(self, frame: UInt8[np.ndarray, "h w 3"]) -> bool:
        """Whether a new scene begins with the next frame (RGB)."""
        height, width = frame.shape[:2]
        scale = min(1.0, _SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        now = self._timecode(self._frames, _ANY_RATE)
        self._frames += 1
        return bool(self._detector.process_frame(now, cv2.cvtColor(small, cv2.COLOR_RGB2BGR)))


def match_slots(
    before: Float[np.ndarray, "n d"],
    after: Float[np.ndarray, "n d"],
    background: int | None = None,
) -> Int64[np.ndarray, " n"]:
    """For each slot of `before` the slot of `after` that continues it: a permutation.

    The pairs maximise the sum of cosines between slots whose mean over n is subtracted, because all
    slots of a frame have much in common. Kuhn 1955. The slot `background` continues itself.
    """
    from scipy.optimize import linear_sum_assignment  # importing it takes longer than a short clip

    before, after = (slots - slots.mean(axis=0) for slots in (before, after))
    norms = np.linalg.norm(before, axis=1)[:, None] * np.linalg.norm(after, axis=1)
    cosines = (before @ after.T) / np.maximum(norms, np.finfo(np.float32).tiny)
    if background is not None:
        cosines[background, background] = 4 * len(cosines)  # more than all other pairs gain
    return linear_sum_assignment(cosines, maximize=True)[1]


@dataclass(frozen=True)
class Reset:
    """When a clip's slots are initialised again: never, at cuts, or every `every` frames."""

    kind: Literal["never", "scene", "every"] = "never"
    every: int = 0

    @classmethod
    def parse(cls, text: str) -> "Reset":
        """Parses never, scene or every:N. Raises UsageError for anything else."""
        kind, _, number = text.partition(":")
        if kind == "every" and number.isascii() and number.isdecimal() and int(number) > 0:
            return cls("every", int(number))
        if text == "never":
            return cls("never")
        if text == "scene":
            return cls("scene")
        raise UsageError(f"--reset {text}: not a rule.", "Use never, scene or every:100.")

    def __str__(self) -> str:
        return f"every:{self.every}" if self.kind == "every" else self.kind
