"""Assigns every frame a strictly increasing timestamp and a duration; splits clips into chunks."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import UInt8

from slotcli.types import (
    FLAG_CORRUPT,
    FLAG_FORMAT_CHANGED,
    FLAG_TIMING_REPAIRED,
    FrameChunk,
)
from slotcli.video.source import Damage

RESET_SECONDS = 1  # a clock that runs back further than this was restarted
DEFAULT_RATE = Fraction(25)  # the default of FFmpeg for streams without timing
# Larger times and durations are damage, and their ticks would overflow a writer's 64 bits. Clocks
# that count from 1970 are below it.
LATEST_SECONDS = 2**31
LONGEST_STEP_SECONDS = 3600


@dataclass(frozen=True)
class Picture:
    """A decoded, upright frame with the timing from the file."""

    rgb: UInt8[np.ndarray, "h w 3"]
    pts: int | None  # ticks
    duration: int  # ticks, 0 if unknown
    flags: int


class Guess:
    """Guesses the timestamps of a stream's frames in presentation order, as FFmpeg does.

    Some files store decoding times as presentation times too, so that these run back wherever
    frames were reordered. The kind of timestamp that failed to increase less often is used,
    presentation times in a tie (guess_correct_pts in FFmpeg's libavcodec/decode.c).
    """

    def __init__(self) -> None:
        self._last_pts = self._last_dts = -math.inf
        self._pts_faults = self._dts_faults = 0

    def time(self, pts: int | None, dts: int | None) -> int | None:
        """`pts`, or `dts` if it is missing or less reliable; None if both are missing."""
        # Each replaces the other, so that times after a gap are compared too.
        if pts is None:
            self._last_pts = self._last_pts if dts is None else dts
        else:
            self._pts_faults += pts <= self._last_pts
            self._last_pts = pts
        if dts is None:
            self._last_dts = self._last_dts if pts is None else pts
        else:
            self._dts_faults += dts <= self._last_dts
            self._last_dts = dts
        by_pts = dts is None or self._pts_faults <= self._dts_faults
        return pts if pts is not None and by_pts else dts


class Clock:
    """Repairs timestamps in order; valid timestamps are never changed.

    A missing one continues at the average rate. One that does not increase is placed half an
    average frame after its predecessor, so that the true clock catches up. A restarted clock
    (concatenated recordings) continues where it stopped. One beyond `LATEST_SECONDS` counts as
    missing.
    """

    def __init__(self, time_base: Fraction, rate: Fraction | None) -> None:
        self.time_base = time_base
        if rate is None or rate * LONGEST_STEP_SECONDS < 1:
            rate = DEFAULT_RATE
        self.step = max(1, round(1 / (rate * time_base)))
        self._shift = 0
        self._last: int | None = None

    def timestamp(self, pts: int | None) -> tuple[int, bool]:
        """The timestamp to use in ticks, and whether it was repaired."""
        placed, repaired = self._placed(None if pts is None or self._beyond(pts) else pts)
        if self._beyond(placed):  # through accumulated restarts of the clock
            placed, repaired = self._placed(None)
        self._last = placed
        return placed, repaired

    def length(self, duration: int) -> int:
        """Duration of a frame in ticks: `duration` if plausible, else an average frame's."""
        return self.step if duration <= 0 or self._beyond(duration) else duration

    def _beyond(self, ticks: int) -> bool:
        return abs(ticks) * self.time_base > LATEST_SECONDS

    def _placed(self, pts: int | None) -> tuple[int, bool]:
        if pts is None:
            return (0 if self._last is None else self._last + self.step), True
        shifted = pts + self._shift
        if self._last is None or shifted > self._last:
            return shifted, self._shift != 0
        if (self._last - shifted) * self.time_base > RESET_SECONDS:
            self._shift = self._last + self.step - pts
            return pts + self._shift, True
        return self._last + max(1, self.step // 2), True


def positive_fraction(rational: Any) -> Fraction | None:
    """A positive rational of PyAV 18 (Fraction or None) or 19 (AVRational, zero if unknown)."""
    if not rational or not rational.denominator or rational.numerator < 0:
        return None
    return Fraction(int(rational.numerator), int(rational.denominator))


def chunk_frames(
    pictures: Iterator[Picture],
    length: int,
    clock: Clock,
    damage: Damage,
) -> Iterator[FrameChunk]:
    """Yields chunks of `length` frames, with repaired timestamps; repairs count into `damage`.

    A frame lasts until the next one; the last has its packet's duration, or an average frame's.
    """
    held: list[Picture] = []
    times: list[int] = []
    flags: list[int] = []
    last_end = None
    for picture in pictures:
        pts, repaired = clock.timestamp(picture.pts)
        if len(held) == length:
            yield _packed(held, [*times, pts], flags, damage.decoded)
            held, times, flags = [], [], []
        held.append(picture)
        times.append(pts)
        flags.append(picture.flags | (FLAG_TIMING_REPAIRED if repaired else 0))
        last_end = pts + clock.length(picture.duration)
        damage.decoded += 1
        damage.timing_repaired += repaired
        damage.corrupt_frames += bool(picture.flags & FLAG_CORRUPT)
        damage.format_changes += bool(picture.flags & FLAG_FORMAT_CHANGED)
    if held and last_end is not None:
        yield _packed(held, [*times, last_end], flags, damage.decoded)


def _packed(held: list[Picture], borders: list[int], flags: list[int], decoded: int) -> FrameChunk:
    pts = np.asarray(borders, np.int64)
    return FrameChunk(
        frames=np.stack([picture.rgb for picture in held]),
        pts=pts[:-1],
        duration=np.diff(pts),
        frame_index=np.arange(decoded - len(held), decoded, dtype=np.int64),
        flags=np.asarray(flags, np.uint8),
    )
