"""Reads video files, whole or damaged, as chunks of upright RGB frames with exact timing."""

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

from slotcli.errors import DataError, printable
from slotcli.files.reading import access_errors, require_storage
from slotcli.types import FLAG_CORRUPT, FLAG_FORMAT_CHANGED, FrameChunk, Size
from slotcli.video.delivery import Delivery, clock_seconds
from slotcli.video.images import ImageFolderReader, is_paged_image
from slotcli.video.orientation import Orientation
from slotcli.video.pixels import resized, to_rgb
from slotcli.video.side_data import display_matrix
from slotcli.video.source import MAX_PIXELS, Damage, SourceInfo
from slotcli.video.streams import (
    alpha_decoder,
    choice_remark,
    chosen_stream,
    described_streams,
)
from slotcli.video.timing import Clock, Guess, Picture, chunk_frames, positive_fraction

# PyAV's exceptions for hostile files without a codec, stream or valid tag.
HOSTILE = (FFmpegError, AttributeError, IndexError, UnicodeDecodeError, ValueError)
# A demuxer that fails this often in a row without a packet will not recover.
DEMUX_PATIENCE = 8
# FFmpeg's limit includes padding of rows, up to 64 pixels; no codec has more than 16384 rows.
ALIGNMENT_PIXELS = 64 * 16384
MAX_ASPECT = 64  # of a pixel; larger values are treated as damage

# FFmpeg's names of raw codec streams without a container.
RAW_STREAMS = frozenset(
    ("h261", "h263", "h264", "hevc", "vvc", "evc", "obu", "m4v", "mpegvideo", "vc1", "dirac")
)

NO_DECODERS = {"codec_whitelist": "none"}  # for the declared facts of a file, without decoding

# A file may refer to others (playlists): these are never opened.
CONTAINER_OPTIONS = {"protocol_whitelist": "none"}
# PyAV 18 rejects tags that are not UTF-8 by default; 19 always replaces invalid bytes.
TAG_OPTIONS: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)

DECODING_TIMES = "Times were missing or ran back; the times of decoding were used instead."
ADVICE = "Check that it plays elsewhere; if it was copied or downloaded, do that again."


def open_clip(path: Path, *, max_pixels: int = MAX_PIXELS) -> "ClipReader | ImageFolderReader":
    """Opens a video, a folder of images or a multi-page image; raises as the reader of its kind."""
    if path.is_dir() or is_paged_image(path):
        return ImageFolderReader(path, max_pixels=max_pixels)
    return ClipReader(path, max_pixels=max_pixels)


def probe(path: Path, *, max_pixels: int = MAX_PIXELS) -> SourceInfo:
    """Facts that a file or folder of images declares; decodes only the first frame."""
    with open_clip(path, max_pixels=max_pixels) as reader:
        return reader.info


class ClipReader(AbstractContextManager["ClipReader"]):
    """Decodes a video file once from start to end in constant memory.

    `info` is available after opening; `damage` is complete when `chunks` is exhausted. Raises
    NoInputError (no such file), AccessError (may not be read) or DataError (no frame can be
    decoded, or frames have more than `max_pixels` pixels).
    """

    def __init__(self, path: Path, *, max_pixels: int = MAX_PIXELS) -> None:
        self.path = path
        self.damage = Damage()
        self._max_pixels = max_pixels
        self._guess = Guess()
        self._listed: int | None = None  # visible frames in the container's index
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
        return chunk_frames(self._pictures(), length, clock, self.damage)

    def from_keyframe(self, pts: int, earlier: int = 0) -> Iterator[Picture]:
        """Yields the frames from a keyframe at or before `pts` on, with times as stored.

        It is the last one, or that of `earlier` ticks before. Nothing where the file cannot seek
        there. Frames shown before that keyframe are left out, because they may refer to frames that
        were skipped. `damage` does not count afterwards, and `chunks` no longer works.
        """
        self._first, self._guess = None, Guess()
        try:
            self._container.seek(pts - earlier, stream=self._stream)
            self._decoder.flush_buffers()
        except FFmpegError:
            return
        reached = False
        for frame in self._decode():
            if frame.pts is None or (not reached and frame.pts > pts):
                return
            reached = reached or frame.key_frame
            if reached:
                yield from self._picture(frame)

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
            # A file object instead of a name, because FFmpeg interprets colons and %d in names.
            # Opening already decodes frames to probe the streams, so the limit applies here too.
            limit = {"max_pixels": str(self._max_pixels + ALIGNMENT_PIXELS)}
            self._container = self._resources.enter_context(_container(file, limit))
            self._stream = chosen_stream(self._container, self.path)
            coded = self._stream.codec_context
            self._check_pixels((coded.height, coded.width))
            if not coded.width:  # unknown, or reset because it exceeds the limit
                with FileIO(self.path) as again, _container(again, NO_DECODERS) as container:
                    declared_only = chosen_stream(container, self.path).codec_context
                    self._check_pixels((declared_only.height, declared_only.width))
            other, remark = alpha_decoder(self._stream)
            self._decoder = other or coded
            # The frame size may grow later in the stream.
            self._decoder.options = {**self._decoder.options, **limit}
            # V1: threads over frames would be faster, but after an error at the end PyAV could not
            # flush its frames, and error concealment would differ between runs.
            self._decoder.thread_type = "SLICE"
            self._delivery = Delivery(self._container, self._stream)
            for said in (choice_remark(self._container, self._stream), remark):
                if said is not None:
                    self.damage.note(said)
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
        time_base = positive_fraction(stream.time_base) or Fraction(1, av.time_base)
        size = (coded.height, coded.width)
        indexed = self._indexed(size_in_bytes)
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
            sample_aspect=positive_fraction(stream.sample_aspect_ratio) or Fraction(1),
            time_base=time_base,
            average_rate=self._average_rate(),
            declared_seconds=self._declared_seconds(time_base),
            declared_frames=self._listed or stream.frames or None,
            indexed_frames=indexed,
            video_streams=described_streams(self._container),
        )

    def _average_rate(self) -> Fraction | None:
        """Frames per second; a raw stream has no container and declares it in its own headers."""
        stream = self._stream
        rates = [stream.average_rate, stream.guessed_rate]
        if self._container.format.name in RAW_STREAMS:
            # FFmpeg reports an average of 25 frames per second until it has read the headers.
            rates = [stream.codec_context.framerate, stream.guessed_rate, stream.average_rate]
        return next(filter(None, map(positive_fraction, rates)), None)

    def _declared_seconds(self, time_base: Fraction) -> float | None:
        """The least of the declared durations, from the first frame on.

        The container's may include longer audio; a stream's includes what an edit list removes.
        """
        kind = self._container.format.name
        if kind == "avi" and self._stream.frames:
            # FFmpeg scales its duration down to the bytes in the file.
            return float(self._stream.frames * time_base)
        # Matroska's durations are end times; others start at the first frame.
        begin = float((self._stream.start_time or 0) * time_base) if "matroska" in kind else 0.0
        durations = []
        if self._stream.duration:
            durations.append(float(self._stream.duration * time_base))
        if self._container.duration:
            durations.append(self._container.duration / av.time_base)
        # Matroska stores the duration of a stream in a tag.
        tagged = clock_seconds(self._stream.metadata.get("DURATION", ""))
        if tagged:
            durations.append(tagged)
        return min((d - begin for d in durations if d > max(0, begin)), default=None)

    def _indexed(self, size_in_bytes: int) -> int | None:
        """Number of visible frames that the index lists within the file; None without an index."""
        stream = self._stream
        # The indices of other containers, and of fragments, are incomplete.
        if "mov" not in self._container.format.name or not stream.frames:
            return None
        listed = present = 0
        for entry in stream.index_entries:
            listed += not entry.is_discard
            present += not entry.is_discard and entry.pos + entry.size <= size_in_bytes
        self._listed = listed
        return present

    def _describe(self, declared: SourceInfo, first: av.VideoFrame) -> None:
        coded_size = (first.height, first.width)
        aspect = declared.sample_aspect
        if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
            self.damage.note(f"A pixel aspect of {aspect} was ignored.")
            aspect = Fraction(1)
        self._square_size = _squared(coded_size, aspect)
        self._check_pixels(self._square_size)
        # Containers have one matrix per stream; libav attaches it to every frame.
        matrix = display_matrix(first)
        if matrix is None:
            self._orientation = Orientation()
        else:
            self._orientation = Orientation.from_display_matrix(matrix)
        self._format = (coded_size, first.format.name)
        first_time = first.dts if first.pts is None else first.pts
        self.info = replace(
            declared,
            pixel_format=first.format.name,
            coded_size=coded_size,
            size=self._orientation.size(self._square_size),
            rotation=self._orientation.rotation,
            flipped=self._orientation.flipped,
            sample_aspect=aspect,
            start_pts=Clock(declared.time_base, None).timestamp(first_time)[0],
        )

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Yields all decodable frames, and skips damaged packets."""
        failures = 0
        while failures < DEMUX_PATIENCE:
            try:
                # All streams: the end of the others shows whether the file is complete.
                for packet in self._container.demux():
                    failures = 0
                    self._delivery.add(packet)
                    # PyAV ends with an empty packet. AVI has empty packets in mid-stream for
                    # dropped frames; one of these would flush the decoder.
                    if packet.size and packet.stream_index == self._stream.index:
                        yield from self._decode_packet(packet)
                break
            except (FFmpegError, OSError) as error:
                failures += 1
                self._lost(error)
        yield from self._decode_packet(None)

    def _decode_packet(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        try:
            return self._decoder.decode(packet)
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
        self.damage.missing = self._delivery.missing(self.info.average_rate)
        # AVI's count includes frames that were dropped during recording.
        declared = 0 if self._container.format.name == "avi" else self.info.declared_frames or 0
        if self.damage.decoded < declared:
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


def _squared(coded: Size, aspect: Fraction) -> Size:
    """The (height, width) with square pixels; sides only grow, so that no pixel is lost."""
    height, width = coded
    if aspect >= 1:
        return height, max(1, round(width * aspect))
    return max(1, round(height / aspect)), width
