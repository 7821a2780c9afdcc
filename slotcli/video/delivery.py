"""Checks whether a file contains all frames that its container declares."""

import math
from fractions import Fraction

import av
from av.container import InputContainer

from slotcli.video.timing import positive_fraction

# Containers whose header, written at the end of recording, has the end time of the last frame.
# FFmpeg takes other containers' durations from the end of the file, so truncation does not show.
_ENDS_DECLARED = ("matroska", "flv", "asf", "avi")
_COUNTS_DECLARED = ("ivf",)
_ROUNDING_SECONDS = 0.1  # tolerance for the durations of a whole file, maybe those of its audio


class Delivery:
    """Counts the packets that a container delivers, for all its streams.

    Loss is counted in frames: a declared duration may also include longer audio, frames that an
    edit list removes, or the last frame's duration.
    """

    def __init__(self, container: InputContainer, stream: av.VideoStream) -> None:
        self._container = container
        self._stream = stream
        self._packets = 0
        self._ends: dict[int, float] = {}  # by stream, in seconds
        self._last_dts: int | None = None
        self._longest = 0  # ticks from one frame to the next

    def add(self, packet: av.Packet) -> None:
        """Counts a packet from the container."""
        time = packet.dts if packet.pts is None else packet.pts
        if time is None and not packet.size:
            return  # PyAV ends with an empty packet
        tick = positive_fraction(packet.time_base)
        if time is not None and tick:
            end = float((time + max(0, packet.duration or 0)) * tick)
            self._ends[packet.stream_index] = max(end, self._ends.get(packet.stream_index, end))
        if packet.stream_index == self._stream.index:
            self._packets += 1
            if packet.dts is not None:
                if self._last_dts is not None:
                    self._longest = max(self._longest, packet.dts - self._last_dts)
                self._last_dts = packet.dts

    def missing(self, rate: Fraction | None) -> int | None:
        """Number of declared frames that were not delivered; None if none are declared.

        `rate`, in frames per second, converts missing time to frames.
        """
        kind, stream = self._container.format.name, self._stream
        if any(name in kind for name in _COUNTS_DECLARED):
            return max(0, stream.frames - self._packets) if stream.frames else None
        if "mov" in kind:
            # The index keeps frames that an edit list removes if decoding needs them.
            listed = max(0, len(stream.index_entries) - self._packets)
            # Each fragment has its own index: only the header shows that some are missing.
            return listed if stream.frames else max(listed, self._by_time(rate) or 0)
        if any(name in kind for name in _ENDS_DECLARED):
            return self._by_time(rate)
        return None

    def _by_time(self, rate: Fraction | None) -> int | None:
        declared, own = self._declared_end()
        if declared is None or not rate or not self._ends:
            return None
        reached = self._ends.get(self._stream.index) if own else max(self._ends.values())
        if reached is None:
            return None
        step = float(1 / rate)
        tick = float(positive_fraction(self._stream.time_base) or 0)
        lacking = declared - reached
        # The last frame may be as long as the longest other one.
        allowed = max(step, self._longest * tick) - step / 2
        if lacking <= (allowed if own else allowed + _ROUNDING_SECONDS):
            return 0
        return max(1, round(lacking / step))

    def _declared_end(self) -> tuple[float | None, bool]:
        """End of the last frame in seconds, and whether it is declared for this stream itself."""
        kind, stream = self._container.format.name, self._stream
        tick = float(positive_fraction(stream.time_base) or 0)
        if "avi" in kind:
            # FFmpeg scales the duration down to the bytes in the file.
            return (stream.frames * tick, True) if stream.frames else (None, True)
        tagged = clock_seconds(stream.metadata.get("DURATION", ""))
        whole = self._container.duration and self._container.duration / av.time_base
        # The tag may be a leftover from a longer file that this one was cut from.
        if tagged and not (whole and tagged > whole + _ROUNDING_SECONDS):
            return tagged, True
        if "mov" in kind:
            begin = (stream.start_time or 0) * tick
            return (begin + stream.duration * tick, True) if stream.duration else (None, True)
        return whole or None, False


def clock_seconds(text: str) -> float | None:
    """Parses "HH:MM:SS.nnnnnnnnn" to seconds; None for anything else."""
    try:
        hours, minutes, seconds = text.split(":")
        total = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except (ValueError, OverflowError):
        return None
    return total if math.isfinite(total) else None
