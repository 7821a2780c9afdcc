"""Reads video files, whole or damaged, as chunks of upright RGB frames with exact timing."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from fractions import Fraction
from io import FileIO
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

from slotcli.errors import DataError, printable
from slotcli.types import FLAG_CORRUPT, FLAG_FORMAT_CHANGED, FrameChunk, Size
from slotcli.video.images import ImageFolderReader, is_paged_image
from slotcli.video.orientation import Orientation
from slotcli.video.pixels import resized, to_rgb
from slotcli.video.source import (
    MAX_PIXELS,
    Damage,
    SourceInfo,
    access_errors,
    require_storage,
)
from slotcli.video.timing import Clock, Guess, Picture, chunked

# What PyAV lets through when a hostile file leaves it without a codec, stream or valid tag.
HOSTILE = (FFmpegError, AttributeError, IndexError, UnicodeDecodeError, ValueError)
# A demuxer that fails this often in a row without giving a packet will not recover.
DEMUX_PATIENCE = 8
# FFmpeg counts rows as wide as it pads them, by up to 64 pixels; no codec has more than 16384 rows.
ALIGNMENT_PIXELS = 64 * 16384
MAX_ASPECT = 64  # of a pixel; beyond it the mark is damage, not a format

NO_DECODERS = {"codec_whitelist": "none"}  # what a file says of itself, without decoding any of it

# A file may name others (playlists): none of them is opened.
CONTAINER_OPTIONS = {"protocol_whitelist": "none"}
# PyAV 18 refuses tags that are not UTF-8 unless told otherwise; 19 always replaces them.
TAG_OPTIONS: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)

DECODING_TIMES = "Times were missing or ran back; the times of decoding were used instead."
ADVICE = "Check that it plays elsewhere; if it was copied or downloaded, do that again."


def open_clip(path: Path, *, max_pixels: int = MAX_PIXELS) -> "ClipReader | ImageFolderReader":
    """Opens a video, or a folder of images or an image's pages; errors as in the reader chosen."""
    if path.is_dir() or is_paged_image(path):
        return ImageFolderReader(path, max_pixels=max_pixels)
    return ClipReader(path, max_pixels=max_pixels)


def probe(path: Path, *, max_pixels: int = MAX_PIXELS) -> SourceInfo:
    """What a file or folder of images declares, having decoded its first frame only."""
    with open_clip(path, max_pixels=max_pixels) as reader:
        return reader.info


class ClipReader(AbstractContextManager["ClipReader"]):
    """A video file, decoded once from start to end in constant memory.

    `info` is known once open; `damage` is complete once `chunks` is exhausted. Raises NoInputError
    (no such file), AccessError (may not be read) or DataError (nothing in it can be decoded, or
    its frames have more than `max_pixels` pixels).
    """

    def __init__(self, path: Path, *, max_pixels: int = MAX_PIXELS) -> None:
        self.path = path
        self.damage = Damage()
        self._max_pixels = max_pixels
        self._guess = Guess()
        self._cut_off = 0  # frames that an edit list keeps for decoding only
        self._resources = ExitStack()
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._resources.close()

    def chunks(self, length: int) -> Iterator[FrameChunk]:
        """Yields all frames, `length` at a time (the last chunk may be shorter); works once."""
        clock = Clock(self.info.time_base, self.info.average_rate)
        return chunked(self._pictures(), length, clock, self.damage, self.info.declared_seconds)

    def _open(self) -> None:
        shown = printable(self.path)
        with access_errors(self.path):
            require_storage(self.path)
            file = self._resources.enter_context(FileIO(self.path))
            size_in_bytes = file.seek(0, 2)
            file.seek(0)
        if size_in_bytes == 0:
            raise DataError(f"{shown} is empty.", ADVICE)
        try:
            # A file object, not a name: FFmpeg reads meaning into colons and %d in names.
            # Opening decodes frames already, to find out about streams: the limit is for that too.
            limit = {"max_pixels": str(self._max_pixels + ALIGNMENT_PIXELS)}
            self._container = self._resources.enter_context(_container(file, limit))
            self._stream = _video_stream(self._container, self.path)
            coded = self._stream.codec_context
            self._check_pixels((coded.height, coded.width))
            if not coded.width:  # unknown, or forgotten because it is beyond the limit
                with FileIO(self.path) as again, _container(again, NO_DECODERS) as container:
                    declared_only = _video_stream(container, self.path).codec_context
                    self._check_pixels((declared_only.height, declared_only.width))
            # Frames may grow later in the stream.
            coded.options = {**coded.options, **limit}
            # Threads over frames would be faster, but after an error at the end PyAV cannot reach
            # the frames still inside them, and concealed damage would differ from run to run.
            coded.thread_type = "SLICE"
            declared = self._declared(size_in_bytes)
        except HOSTILE as error:
            raise DataError(f"{shown} is not a video that can be read.", ADVICE) from error
        self._decoded = self._decode()
        first = next(self._decoded, None)
        if first is None:
            raise DataError(f"{shown} has a video stream, but no frame can be decoded.", ADVICE)
        self._first: av.VideoFrame | None = first
        self._describe(declared, first)

    def _check_pixels(self, size: Size) -> None:
        if size[0] * size[1] > self._max_pixels:
            raise DataError(
                f"{printable(self.path)} has frames of {size[1]} x {size[0]} pixels, "
                f"more than the {self._max_pixels} allowed.",
                "Scale it down first, or allow more pixels.",
            )

    def _declared(self, size_in_bytes: int) -> SourceInfo:
        stream = self._stream
        coded = stream.codec_context
        time_base = _fraction(stream.time_base) or Fraction(1, av.time_base)
        size = (coded.height, coded.width)
        return SourceInfo(
            path=self.path,
            name=printable(self.path.name),
            bytes=size_in_bytes,
            codec=coded.name,
            pixel_format="",
            coded_size=size,
            size=size,
            rotation=0,
            flipped=False,
            sample_aspect=_fraction(stream.sample_aspect_ratio) or Fraction(1),
            time_base=time_base,
            average_rate=_fraction(stream.average_rate) or _fraction(stream.guessed_rate),
            declared_seconds=self._declared_seconds(time_base),
            declared_frames=stream.frames or None,
        )

    def _declared_seconds(self, time_base: Fraction) -> float | None:
        """From the first frame on: the least of the declared durations.

        A container's counts longer audio; a stream's counts what an edit list cuts off.
        """
        kind = self._container.format.name
        if kind == "avi" and self._stream.frames:
            # FFmpeg scales its duration down to the bytes that are there.
            return float(self._stream.frames * time_base)
        # Matroska's are the times of the end; others begin where the first frame does.
        begin = float((self._stream.start_time or 0) * time_base) if "matroska" in kind else 0.0
        durations = []
        if self._stream.duration:
            durations.append(float(self._stream.duration * time_base))
        if self._container.duration:
            durations.append(self._container.duration / av.time_base)
        # Matroska keeps the duration of a stream in a tag.
        tagged = _clock_time(self._stream.metadata.get("DURATION", ""))
        if tagged:
            durations.append(tagged)
        return min((d - begin for d in durations if d > max(0, begin)), default=None)

    def _describe(self, declared: SourceInfo, first: av.VideoFrame) -> None:
        coded_size = (first.height, first.width)
        aspect = declared.sample_aspect
        if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
            self.damage.note(f"A pixel aspect of {aspect} was ignored.")
            aspect = Fraction(1)
        self._square_size = _squared(coded_size, aspect)
        self._check_pixels(self._square_size)
        # Containers hold one matrix a stream; libav hands it on with every frame.
        matrix = first.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            self._orientation = Orientation()
        else:
            self._orientation = Orientation.from_display_matrix(bytes(matrix))
        self._format = (coded_size, first.format.name)
        self.info = replace(
            declared,
            pixel_format=first.format.name,
            coded_size=coded_size,
            size=self._orientation.size(self._square_size),
            rotation=self._orientation.rotation,
            flipped=self._orientation.flipped,
            sample_aspect=aspect,
        )

    def _decode(self) -> Iterator[av.VideoFrame]:
        """All frames that can be had, stepping over what cannot."""
        failures = 0
        while failures < DEMUX_PATIENCE:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    # PyAV ends with an empty packet; AVI has them in mid-stream for dropped
                    # frames, where one would shut the decoder.
                    if packet.size:
                        self._cut_off += packet.is_discard
                        yield from self._decode_packet(packet)
                break
            except (FFmpegError, OSError) as error:
                failures += 1
                self._lost(error)
        yield from self._decode_packet(None)

    def _decode_packet(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        try:
            return self._stream.codec_context.decode(packet)
        except (FFmpegError, ValueError) as error:
            self._lost(error)
            return []

    def _lost(self, error: Exception) -> None:
        self.damage.packet_errors += 1
        self.damage.note(f"The decoder said: {getattr(error, 'strerror', None) or error}.")

    def _pictures(self) -> Iterator[Picture]:
        first, self._first = self._first, None
        if first is not None:
            yield from self._picture(first)
        for frame in self._decoded:
            yield from self._picture(frame)
        if self.damage.decoded == 0:
            raise DataError(
                f"No frame of {printable(self.path)} has pixels that can be read.", ADVICE
            )
        declared = (self.info.declared_frames or 0) - self._cut_off
        # AVI counts those too that were dropped when it was recorded; its duration tells.
        if self.damage.decoded < declared and self._container.format.name != "avi":
            self.damage.note(f"{self.damage.decoded} of {declared} declared frames were decoded.")

    def _picture(self, frame: av.VideoFrame) -> Iterator[Picture]:
        flags = FLAG_CORRUPT if frame.is_corrupt else 0
        if ((frame.height, frame.width), frame.format.name) != self._format:
            flags |= FLAG_FORMAT_CHANGED
        pts = self._guess.time(frame.pts, frame.dts)
        if pts != frame.pts:
            self.damage.note(DECODING_TIMES)
        try:
            rgb, remarks = to_rgb(frame)
        except FFmpegError as error:
            self._lost(error)
            return
        for remark in remarks:
            self.damage.note(remark)
        upright = self._orientation.upright(resized(rgb, self._square_size))
        yield Picture(upright, pts, frame.duration or 0, flags)


def _container(file: FileIO, options: dict[str, str]) -> InputContainer:
    return av.open(file, "r", options={**CONTAINER_OPTIONS, **options}, **TAG_OPTIONS)


def _video_stream(container: InputContainer, path: Path) -> av.VideoStream:
    for stream in container.streams.video:
        # Cover art of music files poses as a video of one frame.
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise DataError(
        f"{printable(path)} has no video stream.", "Give a video file, or a folder of images."
    )


def _fraction(rational: Any) -> Fraction | None:
    """A positive rational of PyAV 18 (Fraction or None) or 19 (AVRational, zero if unknown)."""
    if not rational or not rational.denominator or rational.numerator < 0:
        return None
    return Fraction(int(rational.numerator), int(rational.denominator))


def _squared(coded: Size, aspect: Fraction) -> Size:
    """The (height, width) with square pixels that loses none: only ever grows."""
    height, width = coded
    if aspect >= 1:
        return height, max(1, round(width * aspect))
    return max(1, round(height / aspect)), width


def _clock_time(text: str) -> float | None:
    """Seconds of an "HH:MM:SS.nnnnnnnnn", None for anything else."""
    try:
        hours, minutes, seconds = text.split(":")
        total = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except (ValueError, OverflowError):
        return None
    return total if math.isfinite(total) else None
