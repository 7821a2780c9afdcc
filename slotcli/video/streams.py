"""Chooses the video stream of a file, and its decoder."""

from contextlib import suppress
from pathlib import Path
from typing import cast

import av
from av.codec.codec import UnknownCodecError
from av.container import InputContainer
from av.stream import Disposition

from slotcli.errors import DataError, printable

# Cover art of music files and previews appear as video streams of one or a few frames.
_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails
# FFmpeg's own decoders of these ignore alpha, which Matroska stores in side data.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def video_streams(container: InputContainer) -> list[av.VideoStream]:
    """The file's video streams, in order."""
    return [s for s in container.streams.video if not s.disposition & _PICTURES]


def chosen_stream(container: InputContainer, path: Path) -> av.VideoStream:
    """The first video stream that is marked as default, else the first.

    Streams without a decoder in this build of FFmpeg are used only if no other exists. Raises
    DataError if there is none.
    """
    videos = video_streams(container)
    if not videos:
        raise DataError(
            f"{printable(path)} has no video stream.", "Give a video file, or a folder of images."
        )
    known = [stream for stream in videos if stream.codec_context is not None] or videos
    marked = [stream for stream in known if stream.disposition & Disposition.default]
    return (marked or known)[0]


def described_streams(container: InputContainer) -> tuple[str, ...]:
    """Short description of every video stream: index in the file, codec, size, disposition."""
    return tuple(_described(stream) for stream in video_streams(container))


def choice_remark(container: InputContainer, taken: av.VideoStream) -> str | None:
    """Remark on the chosen stream, if there are several."""
    count = len(video_streams(container))
    if count < 2:
        return None
    return f"It has {count} video streams: {_described(taken)} was read, the others were not."


def alpha_decoder(stream: av.VideoStream) -> tuple[av.VideoCodecContext | None, str | None]:
    """A decoder for a stream whose default decoder ignores alpha, or a remark that there is none.

    Both are None if the default decoder is sufficient.
    """
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    name = _ALPHA_DECODERS.get(stream.codec_context.name)
    if name is None or tags.get("alpha_mode") != "1":
        return None, None
    with suppress(UnknownCodecError):
        return cast(av.VideoCodecContext, av.VideoCodecContext.create(name, "r")), None
    return None, f"Its transparency was left out: this build of FFmpeg has no {name} decoder."


def _described(stream: av.VideoStream) -> str:
    coded = stream.codec_context
    shape = "unknown" if coded is None else f"{coded.name}, {coded.width} x {coded.height}"
    default = ", default" if stream.disposition & Disposition.default else ""
    return f"stream {stream.index} ({shape}{default})"
