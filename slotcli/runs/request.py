"""What is asked for of a clip, and whether it is there already."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from slotcli.checkpoint import LoadedModel
from slotcli.errors import printable
from slotcli.runs.clip_encoder import Reset
from slotcli.runs.clip_outputs import Background
from slotcli.runs.plan import RESULT, PlannedClip
from slotcli.tracks.formats.all_formats import MaskFormat
from slotcli.video.images import IMAGE_SUFFIXES
from slotcli.video.selection import Selection
from slotcli.video.source import MAX_PIXELS, access_errors, require_storage

_SAMPLED_BYTES = 1 << 20


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


def request_of(clip: PlannedClip, loaded: LoadedModel, options: DecomposeOptions) -> str:
    """A hash of all that was asked for: the source's content, the weights, the options.

    The content is judged by its size and its first and last MiB, of a folder by names and sizes.
    Raises NoInputError and its kin.
    """
    with access_errors(clip.source):
        require_storage(clip.source)
        source = _folder_digest(clip.source) if clip.source.is_dir() else _digest(clip.source)
    asked = {"source": source, "weights": loaded.sha256, "options": options.as_dict()}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def done_before(clip: PlannedClip, request: str) -> Literal["ok", "degraded"] | None:
    """The status of a complete result of this very request at the clip's place, None if none is."""
    try:
        recorded = json.loads((clip.result / RESULT).read_bytes())
        if recorded["request"] != request:
            return None
        return "degraded" if recorded["status"] == "degraded" else "ok"
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        hasher = hashlib.sha256(str(size).encode())
        for start in (0, max(0, size - _SAMPLED_BYTES)):
            file.seek(start)
            hasher.update(file.read(_SAMPLED_BYTES))
    return hasher.hexdigest()


def _folder_digest(folder: Path) -> str:
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    listed = "".join(f"{printable(path.name)} {path.stat().st_size}\n" for path in images)
    return hashlib.sha256(listed.encode()).hexdigest()
