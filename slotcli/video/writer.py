"""Writes video files whose frames have exactly the given timestamps when read."""

import os
from collections import deque
from contextlib import AbstractContextManager, suppress
from errno import (
    EACCES,
    EDQUOT,
    EEXIST,
    EFBIG,
    EIO,
    EISDIR,
    ENOENT,
    ENOSPC,
    ENOTDIR,
    EPERM,
    EROFS,
)
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
from slotcli.video.pixels import EXACT, resized

MAX_TICKS = 2**31 - 2  # an MP4 sample's duration: FFmpeg reads one more as 1
MICROSECONDS = Fraction(1, 10**6)
LONGEST_EXACT_SECONDS = 60  # per frame; time bases too fine for that become microseconds
MAX_SIDE = 16384  # pixels of a frame in x264
MILLISECONDS = Fraction(1, 1000)  # Matroska's clock
# PyAV would declare 24 frames per second, and FFmpeg drops frames to match a declared rate.
# Two frames per nanosecond, Matroska's unit, round to a duration of 0, which readers ignore.
UNDECLARED_RATE = 2 * 10**9

# V12: one thread, because output must not depend on the number of processors or their load. No
# macroblock tree: with it, x264 sometimes encodes the same frames differently (4 of 154 runs).
# "fast" takes 2.7 times as long as "superfast" for files that are 13 % smaller and 0.5 dB better;
# "ultrafast" takes half as long, for files between 11 % smaller and 20 % larger, of equal or better
# quality.
_X264 = {"crf": "18", "bf": "0", "threads": "1", "mbtree": "0"}
ENCODER_OPTIONS = {
    "h264": {**_X264, "preset": "superfast"},
    "h264-quick": {**_X264, "preset": "ultrafast"},
    # For pages, which hold the video: half the bytes of "superfast". Key frames are close together,
    # so that a browser steps backwards at once.
    "h264-small": {**_X264, "preset": "veryfast", "crf": "27", "g": "48"},
}
DISK_FAULTS = (ENOSPC, EDQUOT, EIO, EFBIG)


def ffv1_options(size: Size) -> dict[str, str]:
    """Encoder options for gray frames of a (height, width), which bounds the number of slices.

    libavcodec/ffv1enc.c: beyond 352 x 288 at least 2 x 2 slices, none of them empty, each of less
    than 2**27 / 9 pixels.
    """
    height, width = size
    one = height <= 288 and width <= 352
    if min(size) == 1 and not one:
        return {"level": "1", "threads": "1"}  # level 1 has no slices, and no checksums of them
    across = 1 if one else 2
    while across < min(size) and -(-height // across) * -(-width // across) * 9 > 2**27:
        across += 1
    return {"level": "3", "slices": str(across**2), "slicecrc": "1", "threads": "1"}


class VideoWriter(AbstractContextManager["VideoWriter"]):
    """Writes an H.264 MP4 or a lossless FFV1 Matroska file, gray or RGB, frame by frame.

    H.264 keeps every timestamp exactly: the file's time base is 1/denominator of `time_base`, and
    its colours are BT.709, limited range, 4:2:0 (4:4:4 for odd sizes). MP4 has no times before 0,
    so a clip that starts earlier is shifted as a whole to start at 0. Frames and times that H.264
    or MP4 cannot represent are adapted, with a note in `remarks`. Matroska rounds times to
    milliseconds, kept strictly increasing, with the same shift.

    `mark` is written as the file's comment. Equal calls give equal bytes. Raises UnavailableError
    (no such encoder, or it fails), AccessError, CannotCreateError or OutputError (disk full);
    leaving the context by any exception deletes the file.
    """

    def __init__(
        self,
        path: Path,
        size: Size,
        time_base: Fraction,
        *,
        codec: Literal["h264", "h264-quick", "h264-small", "ffv1-gray", "ffv1-rgb"],
        mark: str | None = None,
    ) -> None:
        self.path = path
        self._mark = mark
        self.size = size
        self._gray = codec == "ffv1-gray"
        self._lossless = codec.startswith("ffv1")
        self._encoder: Literal["ffv1", "libx264"] = "ffv1" if self._lossless else "libx264"
        self._coded_size = size if self._lossless else _within(size, MAX_SIDE)
        self._ticks_in = time_base
        exact = time_base.denominator * LONGEST_EXACT_SECONDS <= MAX_TICKS
        self._ticks_out = Fraction(1, time_base.denominator) if exact else MICROSECONDS
        if self._lossless:
            self._ticks_out = MILLISECONDS
        self._rounds = self._lossless or not exact
        self._closed_gaps = 0
        self._closed_ticks = 0
        self._origin: int | None = None  # input ticks that become 0 of the output
        self._last: int | None = None  # output ticks of the last frame
        self._durations: deque[int] = deque()
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

    @property
    def remarks(self) -> list[str]:
        """Sentences on the differences between the video and the frames written to it."""
        said = []
        if self._coded_size != self.size:
            height, width = self._coded_size
            said.append(f"H.264 has no larger frames: it was scaled to {width} x {height} pixels.")
        if self._closed_gaps:
            said.append(
                f"{self._closed_gaps} of its frames last longer than MP4 can hold: each is shown "
                "for 1 s, and what follows comes so much earlier."
            )
        return said

    def write(
        self,
        frame: UInt8[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w"],
        pts: int,
        duration: int,
    ) -> None:
        """Adds a frame, with one channel for ffv1-gray, else with three.

        `pts` (strictly increasing) and `duration` (at least 1) are in ticks of `time_base`. Raises
        ValueError for another shape or order, and the errors of the class.
        """
        expected = self.size if self._gray else (*self.size, 3)
        if frame.shape != expected:
            raise ValueError(f"a frame of shape {frame.shape} in a video of {expected}")
        start, length = self._placed(pts, duration)
        picture = self._coded(frame)
        picture.pts = start
        picture.time_base = self._ticks_out
        self._durations.append(length)
        try:
            self._mux(self._stream.encode(picture))
        except (FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def _open(self, codec: str) -> None:
        name = self._encoder
        try:
            Codec(name, "w")
        except UnknownCodecError as error:
            raise UnavailableError(
                f"This build of FFmpeg has no {name} encoder.",
                "Install PyAV from its own wheels: pip install --force-reinstall av",
            ) from error
        scale = str(self._ticks_out.denominator)
        options = {"fflags": "+bitexact"}
        if not self._lossless:
            # The edit list that delays the first frame is in the movie's time scale.
            options |= {
                "movflags": "+faststart",
                "video_track_timescale": scale,
                "movie_timescale": scale,
            }
        self._container = av.open(
            # With the prefix FFmpeg does not parse colons in names as protocols.
            "file:" + os.fspath(self.path),
            "w",
            format="matroska" if self._lossless else "mp4",
            options=options,
        )
        if self._mark is not None:
            self._container.metadata["comment"] = self._mark
        rate = UNDECLARED_RATE if self._lossless else None
        settings = ffv1_options(self.size) if self._lossless else ENCODER_OPTIONS[codec]
        stream = self._container.add_stream(name, rate, options=settings)
        stream.height, stream.width = self._coded_size
        even = not any(side % 2 for side in self._coded_size)
        lossy = "yuv420p" if even else "yuv444p"
        # FFV1 has no 24-bit RGB: the fourth byte is padding.
        stream.pix_fmt = "gray" if self._gray else "bgr0" if self._lossless else lossy
        stream.time_base = self._ticks_out
        coder = stream.codec_context
        coder.time_base = self._ticks_out
        coder.flags |= Flags.bitexact
        if not self._lossless:
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
        start = round((pts - self._origin) * per_tick) - self._closed_ticks
        length = max(1, round(duration * per_tick))
        if self._last is not None:
            if self._rounds:
                start = max(start, self._last + 1)
            if start <= self._last:
                raise ValueError(f"a frame at {pts} ticks after one at the same time or later")
        if not self._lossless:
            start, length = self._within_mp4(start, length)
        self._last = start
        return start, length

    def _within_mp4(self, start: int, length: int) -> tuple[int, int]:
        """Start and length in output ticks; earlier if the last frame is too long for MP4."""
        second = round(1 / self._ticks_out)
        gap = 0 if self._last is None else start - self._last
        if gap > MAX_TICKS:
            self._closed_gaps += 1
            self._closed_ticks += gap - second
            start -= gap - second
        return start, second if length > MAX_TICKS else length

    def _coded(self, frame: np.ndarray) -> av.VideoFrame:
        if self._gray:
            return av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "gray")
        if self._lossless:
            return av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24").reformat(
                format=self._stream.pix_fmt, interpolation=EXACT, threads=1
            )
        fitting = np.ascontiguousarray(resized(frame, self._coded_size))
        return av.VideoFrame.from_ndarray(fitting, "rgb24").reformat(
            format=self._stream.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=EXACT,
            threads=1,
        )

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            # Without B-frames packets are in the order of their frames.
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
        # Errors here must not replace the original one.
        with suppress(FFmpegError, OSError):
            self._container.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _failure(self, error: Exception) -> SlotcliError:
        shown = printable(self.path)
        reason = getattr(error, "strerror", None) or str(error)
        number = getattr(error, "errno", None)
        if number in (EACCES, EPERM, EROFS):
            return AccessError(f"{shown} may not be written.", "Choose another place to write to.")
        if number in (EEXIST, EISDIR, ENOENT, ENOTDIR):
            return CannotCreateError(
                f"{shown} cannot be created: {reason}.", "Check that its folder exists."
            )
        if number in DISK_FAULTS or not isinstance(error, FFmpegError):
            return OutputError(
                f"{shown} could not be written: {reason}.", "Check the free space and the disk."
            )
        height, width = self._coded_size
        return UnavailableError(
            f"The {self._encoder} encoder refused {shown}, {width} x {height} pixels: {reason}.",
            "Leave this file out, or scale the source down first.",
        )


def _within(size: Size, limit: int) -> Size:
    """Largest (height, width) with the aspect ratio of `size` and no side beyond `limit`."""
    scale = min(1.0, limit / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
