"""Writes video files whose frames read back at exactly the time they were given."""

import os
from collections import deque
from contextlib import AbstractContextManager, suppress
from errno import EACCES, EEXIST, EISDIR, ENOENT, ENOTDIR, EPERM
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal

import av
import numpy as np
from av.codec.codec import Codec, UnknownCodecError
from av.codec.context import Flags
from av.error import FFmpegError
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from jaxtyping import UInt8

from slotcli.errors import (
    AccessError,
    CannotCreateError,
    OutputError,
    SlotcliError,
    UnavailableError,
    printable,
)
from slotcli.types import Size
from slotcli.video.pixels import EXACT

MAX_TICKS = 2**31 - 1  # an MP4 sample's duration, and a time scale, in FFmpeg's muxer
MILLISECONDS = Fraction(1, 1000)  # Matroska's clock
# PyAV would declare 24 frames a second, and FFmpeg drops frames to keep to what Matroska declares.
# Two frames a nanosecond, Matroska's unit, round to a duration of 0, which readers take for none.
UNDECLARED_RATE = 2 * 10**9

# One thread: output must not depend on the number of processors, nor on how busy they are. And no
# macroblock tree: with it, x264 codes the same frames differently now and then (4 of 154 runs).
# "fast" takes 2.7 times as long as "superfast" for files that are 13 % smaller, 0.5 dB better;
# "ultrafast" takes half as long, for files between 11 % smaller and 20 % larger, as good or better.
_X264 = {"crf": "18", "bf": "0", "threads": "1", "mbtree": "0"}
ENCODER_OPTIONS = {
    "h264": {**_X264, "preset": "superfast"},
    "h264-quick": {**_X264, "preset": "ultrafast"},
    # One slice: of four, the default, some would be empty in a video one pixel wide.
    "ffv1-gray": {"level": "3", "slices": "1", "slicecrc": "1", "threads": "1"},
}


class VideoWriter(AbstractContextManager["VideoWriter"]):
    """An H.264 MP4 or a lossless gray FFV1 Matroska file, written a frame at a time.

    H.264 keeps every timestamp exactly: the file's time base is 1/denominator of `time_base`, and
    its colours are BT.709, limited range, 4:2:0 (4:4:4 for odd sizes). MP4 has no time before 0,
    so a clip that starts earlier is moved as a whole to start at 0. Matroska rounds times to
    milliseconds, kept strictly increasing, with the same move.

    `mark` is written as the file's comment. Equal calls give equal bytes. Raises UnavailableError
    (no such encoder), AccessError, CannotCreateError or OutputError (disk full, unwritable timing);
    leaving the context by any exception deletes the file.
    """

    def __init__(
        self,
        path: Path,
        size: Size,
        time_base: Fraction,
        *,
        codec: Literal["h264", "h264-quick", "ffv1-gray"],
        mark: str | None = None,
    ) -> None:
        self.path = path
        self._mark = mark
        self.size = size
        self._gray = codec == "ffv1-gray"
        self._ticks_in = time_base
        self._ticks_out = MILLISECONDS if self._gray else Fraction(1, time_base.denominator)
        self._origin: int | None = None  # input ticks that become 0 of the output
        self._last: int | None = None  # output ticks of the last frame
        self._durations: deque[int] = deque()
        if self._ticks_out.denominator > MAX_TICKS:
            raise OutputError(
                f"{printable(path)} cannot be timed in units of {time_base} s.",
                "Convert the source to a common time base first.",
            )
        try:
            self._open(codec)
        except (FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._discard()
            return
        try:
            self._finish()
        except BaseException:
            self._discard()
            raise

    def write(
        self,
        frame: UInt8[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w"],
        pts: int,
        duration: int,
    ) -> None:
        """Adds a frame: of one channel for ffv1-gray, else of three.

        `pts` (strictly increasing) and `duration` (at least 1) are ticks of the time base given.
        Raises ValueError for another shape or order, else as the class says.
        """
        expected = self.size if self._gray else (*self.size, 3)
        if frame.shape != expected:
            raise ValueError(f"a frame of shape {frame.shape} in a video of {expected}")
        start, length = self._placed(pts, duration)
        picture = self._coded(np.ascontiguousarray(frame))
        picture.pts = start
        picture.time_base = self._ticks_out
        self._durations.append(length)
        try:
            self._mux(self._stream.encode(picture))
        except (FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def _open(self, codec: str) -> None:
        name = "ffv1" if self._gray else "libx264"
        try:
            Codec(name, "w")
        except UnknownCodecError as error:
            raise UnavailableError(
                f"This build of FFmpeg has no {name} encoder.",
                "Install PyAV from its own wheels: pip install --force-reinstall av",
            ) from error
        scale = str(self._ticks_out.denominator)
        options = {"fflags": "+bitexact"}
        if not self._gray:
            # The edit list that delays the first frame counts in the movie's time scale.
            options |= {
                "movflags": "+faststart",
                "video_track_timescale": scale,
                "movie_timescale": scale,
            }
        self._container = av.open(
            # The prefix keeps colons in names from being read as protocols.
            "file:" + os.fspath(self.path),
            "w",
            format="matroska" if self._gray else "mp4",
            options=options,
        )
        if self._mark is not None:
            self._container.metadata["comment"] = self._mark
        rate = UNDECLARED_RATE if self._gray else None
        stream = self._container.add_stream(name, rate, options=ENCODER_OPTIONS[codec])
        stream.height, stream.width = self.size
        even = self.size[0] % 2 == 0 and self.size[1] % 2 == 0
        stream.pix_fmt = "gray" if self._gray else "yuv420p" if even else "yuv444p"
        stream.time_base = self._ticks_out
        coder = stream.codec_context
        coder.time_base = self._ticks_out
        coder.flags |= Flags.bitexact
        if not self._gray:
            coder.colorspace = Colorspace.ITU709
            coder.color_range = ColorRange.MPEG
            coder.color_primaries = ColorPrimaries.BT709
            coder.color_trc = ColorTrc.BT709
        self._stream = stream
        self._container.start_encoding()

    def _placed(self, pts: int, duration: int) -> tuple[int, int]:
        if self._origin is None:
            self._origin = min(pts, 0)
        per_tick = self._ticks_in / self._ticks_out
        start = round((pts - self._origin) * per_tick)
        length = max(1, round(duration * per_tick))
        if self._last is not None:
            if self._gray:
                start = max(start, self._last + 1)
            if start <= self._last:
                raise ValueError(f"a frame at {pts} ticks after one at the same time or later")
        gap = 0 if self._last is None else start - self._last
        if max(length, gap) > MAX_TICKS:
            raise OutputError(
                f"A frame of {printable(self.path)} lasts too long to be written: {duration} "
                f"ticks of {self._ticks_in} s.",
                "Convert the source to a coarser time base first.",
            )
        self._last = start
        return start, length

    def _coded(self, frame: np.ndarray) -> av.VideoFrame:
        if self._gray:
            return av.VideoFrame.from_ndarray(frame, "gray")
        return av.VideoFrame.from_ndarray(frame, "rgb24").reformat(
            format=self._stream.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=EXACT,
            threads=1,
        )

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            # Without B-frames packets come in the order of their frames.
            packet.duration = self._durations.popleft()
            self._container.mux(packet)

    def _finish(self) -> None:
        if self._last is None:
            raise OutputError(
                f"{printable(self.path)} was given no frames.", "Give a source with frames."
            )
        try:
            self._mux(self._stream.encode(None))
            self._container.close()
        except (FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def _discard(self) -> None:
        # The error that led here is the one to report.
        with suppress(FFmpegError, OSError):
            self._container.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _failure(self, error: Exception) -> SlotcliError:
        shown = printable(self.path)
        reason = getattr(error, "strerror", None) or str(error)
        number = getattr(error, "errno", None)
        if number in (EACCES, EPERM):
            return AccessError(f"{shown} may not be written.", "Choose another place to write to.")
        if number in (EEXIST, EISDIR, ENOENT, ENOTDIR):
            return CannotCreateError(
                f"{shown} cannot be created: {reason}.", "Check that its folder exists."
            )
        return OutputError(
            f"{shown} could not be written: {reason}.", "Check the free space and the disk."
        )
