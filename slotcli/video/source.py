"""Facts about a source of frames, before and after it is decoded."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from slotcli.types import Size

MAX_PIXELS = 8192 * 8192  # per frame, because a small hostile file can declare any size


@dataclass(frozen=True)
class SourceInfo:
    """A clip as its container and first frame describe it.

    A coded frame is turned upright by a flip left to right if `flipped`, then a counter-clockwise
    rotation by `rotation` degrees. `size` is that of the upright frame with square pixels.
    """

    path: Path
    name: str  # of the file, printable
    bytes: int
    codec: str
    pixel_format: str
    coded_size: Size
    size: Size
    rotation: int  # 0, 90, 180 or 270
    flipped: bool
    sample_aspect: Fraction  # width of a coded pixel over its height
    time_base: Fraction  # seconds per tick
    average_rate: Fraction | None  # frames per second
    declared_seconds: float | None
    declared_frames: int | None
    start_pts: int = 0  # of the first frame, in ticks: the origin of seconds
    indexed_frames: int | None = None  # in the file for certain, because its index lists them
    video_streams: tuple[str, ...] = ()  # descriptions of all of them

    def seconds(self, pts: int) -> float:
        """The time of a frame in seconds from the clip's first frame."""
        return float((pts - self.start_pts) * self.time_base)


@dataclass
class Damage:
    """Running counts of a clip's lost and repaired frames; complete at the end of the clip."""

    decoded: int = 0
    packet_errors: int = 0  # packets that raised an error instead of giving a frame
    corrupt_frames: int = 0
    timing_repaired: int = 0
    format_changes: int = 0  # frames whose size or pixel format differs from the first frame's
    notes: list[str] = field(default_factory=list)
    missing: int | None = None  # frames declared that are not in the file; None: none declared

    @property
    def coverage(self) -> float | None:
        """Fraction of the declared frames that are in the file; None if none are declared."""
        if self.missing is None:
            return None
        return self.decoded / max(1, self.decoded + self.missing)

    @property
    def repaired(self) -> int:
        """Number of frames that were delivered with repairs."""
        return self.timing_repaired + self.format_changes

    def note(self, text: str) -> None:
        """Adds a remark once."""
        if text not in self.notes:
            self.notes.append(text)
