"""What is known of a source of frames before and after it is decoded."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from slotcli.types import Size

MAX_PIXELS = 8192 * 8192  # of one frame; a small hostile file can declare any size


@dataclass(frozen=True)
class SourceInfo:
    """A clip as its container and first frame describe it.

    Turning the coded picture upright: flip it left to right if `flipped`, then rotate it
    counter-clockwise by `rotation` degrees. `size` is what comes out, with square pixels.
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
    time_base: Fraction  # seconds a tick
    average_rate: Fraction | None  # frames a second
    declared_seconds: float | None
    declared_frames: int | None
    start_pts: int = 0  # of the first frame, in ticks: seconds count from it
    indexed_frames: int | None = None  # that are in the file beyond doubt: it has a list of them
    video_streams: tuple[str, ...] = ()  # all there are, in words

    def seconds(self, pts: int) -> float:
        """The time of a frame, counted from the clip's first one, whatever its file counts from."""
        return float((pts - self.start_pts) * self.time_base)


@dataclass
class Damage:
    """Running count of what a clip lost or had repaired; complete once it is exhausted."""

    decoded: int = 0
    packet_errors: int = 0  # pieces that gave an error instead of a frame
    corrupt_frames: int = 0
    timing_repaired: int = 0
    format_changes: int = 0  # frames whose size or pixel format is not the first frame's
    notes: list[str] = field(default_factory=list)
    missing: int | None = None  # frames declared that are not in the file; None: none declared

    @property
    def coverage(self) -> float | None:
        """The share of the declared frames that is in the file; None where none are declared."""
        if self.missing is None:
            return None
        return self.decoded / max(1, self.decoded + self.missing)

    @property
    def repaired(self) -> int:
        """Frames that are there, but not as the file gave them."""
        return self.timing_repaired + self.format_changes

    def note(self, text: str) -> None:
        """Adds a remark once."""
        if text not in self.notes:
            self.notes.append(text)
