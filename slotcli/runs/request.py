"""What is asked for of a clip, and whether it is there already."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from slotcli.checkpoint import LoadedModel
from slotcli.runs.clip_encoder import Reset
from slotcli.runs.clip_outputs import Background
from slotcli.runs.plan import RESULT, PlannedClip
from slotcli.runs.source_identity import SourceIdentity, source_identity
from slotcli.tracks.formats.all_formats import MaskFormat
from slotcli.video.selection import Selection
from slotcli.video.source import MAX_PIXELS


@dataclass(frozen=True)
class DecomposeOptions:
    """`background` is a slot, or how to find it; `fit` is what becomes of another aspect ratio.

    `strict` refuses a clip of which anything was lost, repaired or changed on the way, where
    otherwise its result says so.
    """

    masks: tuple[MaskFormat, ...] = ("png",)
    overlay: bool = True
    background: Background = "auto"
    fit: Literal["squeeze", "crop"] = "squeeze"
    chunk: int = 16
    selection: Selection = field(default_factory=Selection)
    reset: Reset = field(default_factory=Reset)
    max_bad: float = 0.02
    strict: bool = False
    max_pixels: int = MAX_PIXELS
    overwrite: bool = False

    def as_dict(self) -> dict[str, Any]:
        """What a result depends on, in plain values."""
        return {
            "background": self.background,
            "fit": self.fit,
            "masks": list(self.masks),
            "overlay": self.overlay,
            "chunk": self.chunk,
            "start": self.selection.start,
            "end": self.selection.end,
            "stride": self.selection.stride,
            "max_frames": self.selection.max_frames,
            "reset": str(self.reset),
        }


@dataclass(frozen=True)
class Request:
    """What a result is asked for of: `key` is a hash of the source's content, weights, options."""

    key: str
    source: SourceIdentity


def request_of(clip: PlannedClip, loaded: LoadedModel, options: DecomposeOptions) -> Request:
    """The request that a clip's result is to answer. Raises NoInputError and its kin.

    All of the source is read, unless a result at the clip's place says that nothing was written to
    it since.
    """
    source = source_identity(clip.source, _recorded_identity(clip))
    asked = {"source": source.digest, "weights": loaded.sha256, "options": options.as_dict()}
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return Request(key, source)


def done_before(clip: PlannedClip, request: Request) -> Literal["ok", "degraded"] | None:
    """The status of a complete result of this very request at the clip's place, None if none is."""
    recorded = _recorded(clip)
    if recorded.get("request") != request.key:
        return None
    return "degraded" if recorded.get("status") == "degraded" else "ok"


def difference(clip: PlannedClip, request: Request) -> str:
    """In which way the result at a clip's place is not the one that is asked for."""
    before = _recorded_identity(clip)
    if before is not None and before.digest != request.source.digest:
        return "its source has changed since"
    return "it was made by other weights or with other options"


def _recorded_identity(clip: PlannedClip) -> SourceIdentity | None:
    source = _recorded(clip).get("source")
    if not isinstance(source, dict):
        return None
    digest, state = source.get("sha256"), source.get("state")
    if not isinstance(digest, str):
        return None
    return SourceIdentity(digest, state if isinstance(state, str) else None)


def _recorded(clip: PlannedClip) -> dict[str, Any]:
    try:
        recorded = json.loads((clip.result / RESULT).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return recorded if isinstance(recorded, dict) else {}
