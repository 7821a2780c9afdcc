"""Where one scene ends and another begins."""

import cv2
import numpy as np
from jaxtyping import UInt8

_MIN_SCENE = 15  # frames; two cuts closer than this are a flash
_SIDE = 256  # pixels: cuts show at any size, and small frames are quick
_ANY_RATE = 25.0  # frames are counted, not timed


class CutFinder:
    """Tells of each frame of a clip, one after another, whether a new scene begins with it.

    By the mean change of hue, saturation and value, with PySceneDetect's own threshold.
    """

    def __init__(self) -> None:
        # Few runs look for cuts, and loading this takes half a second.
        from scenedetect import FrameTimecode
        from scenedetect.detector import FlashFilter
        from scenedetect.detectors import ContentDetector

        self._timecode = FrameTimecode
        self._frames = 0
        self._detector = ContentDetector(
            min_scene_len=_MIN_SCENE, filter_mode=FlashFilter.Mode.SUPPRESS
        )

    def is_cut(self, frame: UInt8[np.ndarray, "h w 3"]) -> bool:
        """Looks at the next frame (RGB)."""
        height, width = frame.shape[:2]
        scale = min(1.0, _SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        now = self._timecode(self._frames, _ANY_RATE)
        self._frames += 1
        return bool(self._detector.process_frame(now, cv2.cvtColor(small, cv2.COLOR_RGB2BGR)))
