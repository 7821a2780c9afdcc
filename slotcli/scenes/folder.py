"""A folder of rendered scenes: videos, their masks, and an index of the clips.

    index.json                   a record per clip
    videos/C-17.mp4              H.264, 12 frames per second
    masks/C-17/00000.png, ...    labels: 0 is background, 1.. are instances
    masks/C-17.mkv               the same, as a lossless gray video

Videos and masks are in two folders because masks are videos too: training uses only `videos`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from slotcli import __version__
from slotcli.errors import DataError, printable
from slotcli.files.reading import access_errors
from slotcli.scenes import TIERS
from slotcli.scenes.seeds import SAMPLE_SEEDS, TEST_SEEDS, VALIDATION_SEEDS
from slotcli.types import Size

SCHEMA = "slotcli.synth/1"
INDEX = "index.json"
VIDEOS = "videos"
MASKS = "masks"
MaskKind = Literal["png", "ffv1"]
SPRITES = "sprites"  # replaces the tier for clips of sprites
HELD_OUT_SPRITES = "held-out-sprites"


@dataclass(frozen=True)
class SynthClip:
    """One clip of such a folder, with everything that determines it.

    `assets` are the asset folders of sprite clips, none for rendered scenes.
    """

    tier: str
    seed: int
    frames: int
    size: Size
    masks: tuple[MaskKind, ...]
    version: str = __version__
    assets: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.tier}-{self.seed}"

    def video(self, folder: Path) -> Path:
        """Path of the clip's video in a folder of such clips."""
        return folder / VIDEOS / f"{self.name}.mp4"

    def labels(self, folder: Path, kind: MaskKind) -> Path:
        """Path of the clip's masks: a folder of PNG files, or a video."""
        return folder / MASKS / (self.name if kind == "png" else f"{self.name}.mkv")


def reserved_for(seed: int) -> str | None:
    """The purpose that the scene of a seed is held out for, None if it may be trained on."""
    for start, use in (
        (SAMPLE_SEEDS, "samples"),
        (TEST_SEEDS, "test"),
        (VALIDATION_SEEDS, "validation"),
    ):
        if seed >= start:
            return use
    return None


def index_text(clips: Iterable[SynthClip]) -> str:
    """The index as JSON, in the order of the clips' names."""
    records = [
        {
            "name": clip.name,
            "tier": clip.tier,
            "seed": clip.seed,
            "frames": clip.frames,
            "size": list(clip.size),
            "masks": list(clip.masks),
            "reserved_for": "validation"
            if clip.tier == HELD_OUT_SPRITES
            else reserved_for(clip.seed),
            "version": clip.version,
        }
        | ({"assets": list(clip.assets)} if clip.assets else {})
        for clip in sorted(clips, key=lambda clip: clip.name)
    ]
    return json.dumps({"schema": SCHEMA, "clips": records}, indent=1) + "\n"


def read_index(folder: Path) -> dict[str, SynthClip]:
    """The clips of a folder by name, none without an index. Raises DataError, AccessError."""
    path = folder / INDEX
    if not path.exists():
        return {}
    with access_errors(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        index = json.loads(text)
        if index["schema"] != SCHEMA:
            raise ValueError(f"its schema is {index['schema']!r}")
        clips = [_clip(record) for record in index["clips"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{printable(path)} is no index of clips: {error}.", "Make the folder again."
        ) from error
    return {clip.name: clip for clip in clips}


def _clip(record: Mapping[str, Any]) -> SynthClip:
    # File names are made from these, so they have to be validated.
    height, width = (int(side) for side in record["size"])
    tier, masks = str(record["tier"]), tuple(record["masks"])
    if (
        tier not in (*TIERS, SPRITES, HELD_OUT_SPRITES)
        or not masks
        or not set(masks) <= {"png", "ffv1"}
    ):
        raise ValueError(f"a clip of tier {tier!r} with masks {list(masks)}")
    seed, frames = int(record["seed"]), int(record["frames"])
    assets = tuple(str(folder) for folder in record.get("assets", ()))
    return SynthClip(tier, seed, frames, (height, width), masks, str(record["version"]), assets)
