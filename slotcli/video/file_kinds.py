"""Recognises videos and images by their suffix, or by their content if it is unknown."""

from pathlib import Path
from typing import Literal

FileKind = Literal["video", "image"]


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


# Formats that FFmpeg decodes; those that its encoders can write were tested by a round trip.
VIDEO_SUFFIXES = _suffixes(
    "mp4 m4v mov qt ismv 3gp 3g2 f4v mj2 mkv mk3d webm avi divx mpg mpeg vob m1v m2v mp2v ts mts "
    "m2ts m2t wmv asf flv ogv ogm mxf gif y4m ivf obu av1 nut dv rm rmvb swf amv roq h261 h263 "
    "h264 264 avc h265 265 hevc h266 266 vvc mjpeg mjpg dav gxf wtv nsv vc1 ser"
)
PILLOW_SUFFIXES = _suffixes(
    "png apng jpg jpeg jpe jfif mpo webp bmp dib tif tiff ppm pgm pbm pnm avif avifs jp2 j2k jpx "
    "jpf jpc j2c tga qoi sgi ras pcx"
)
FFMPEG_IMAGE_SUFFIXES = _suffixes("dpx exr hdr pam pfm xwd jls")  # which Pillow does not read
IMAGE_SUFFIXES = PILLOW_SUFFIXES | FFMPEG_IMAGE_SUFFIXES

SOUND_SUFFIXES = _suffixes(
    "mp3 m4a m4b aac ogg oga opus flac wav wma mka ac3 eac3 dts aif aiff amr ape"
)
UNFINISHED_SUFFIXES = _suffixes("part partial crdownload download ytdl aria2 tmp temp !ut")
PREVIEW_SUFFIXES = _suffixes("thm lrv lrf glv")  # small copies that cameras store with recordings
_ALSO_TEXT = _suffixes("ts mts dv rm ser")  # suffixes of text files too

_SNIFFED_BYTES = 1024
_PACKET = 188  # bytes of MPEG-TS, four more with M2TS's clock
_VIDEO_STARTS = (
    b"\x1aE\xdf\xa3",  # Matroska
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG-1 or 2 video
    b"FLV\x01",
    b"0&\xb2u\x8ef\xcf\x11",  # ASF
    b"OggS",
    b"\x06\x0e+4\x02\x05\x01\x01",  # MXF
    b"GIF8",
    b"DKIF",  # IVF
    b"YUV4MPEG2",
    b"nut/multimedia",
    b".RMF",
)
_ANNEX_B = (b"\x00\x00\x00\x01\x67", b"\x00\x00\x00\x01\x40\x01", b"\x00\x00\x00\x01\x09")
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"styp")
_IMAGE_BOXES = (b"avif", b"avis")
_UNREAD_BOXES = (b"heic", b"heix", b"mif1", b"crx ")  # photos that FFmpeg decodes tile by tile
_IMAGE_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"II+\x00", b"BM")


def file_kind(path: Path) -> FileKind | None:
    """Whether the video or the image reader can read a file; None if neither can.

    A known suffix decides, unless text files use it too. Other files are recognised by content,
    images only if they have no suffix, because documents and raw photos start like images. Raises
    OSError.
    """
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    if suffix in VIDEO_SUFFIXES:
        return None if suffix in _ALSO_TEXT and _is_text(starting_bytes(path)) else "video"
    found = content_kind(starting_bytes(path))
    return None if found == "image" and suffix else found


def content_kind(start: bytes) -> FileKind | None:
    """Kind of a file from its first KiB."""
    if start.startswith(_IMAGE_STARTS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP"):
        return "image"
    if start[4:8] in _BOXES:
        if start[8:12] in _IMAGE_BOXES:
            return "image"
        return None if start[8:12] in _UNREAD_BOXES else "video"
    if start.startswith(_VIDEO_STARTS + _ANNEX_B) or (
        start[:4] == b"RIFF" and start[8:12] == b"AVI "
    ):
        return "video"
    packets = (start[first :: _PACKET + first][:3] for first in (0, 4))
    return "video" if any(packet == b"GGG" for packet in packets) else None


def starting_bytes(path: Path) -> bytes:
    """The first KiB of a file. Raises OSError."""
    with path.open("rb") as file:
        return file.read(_SNIFFED_BYTES)


def _is_text(start: bytes) -> bool:
    if not start or b"\x00" in start:
        return False
    try:
        start.decode()
    except UnicodeDecodeError as error:
        return error.start > len(start) - 4  # a character truncated at the end of the KiB
    return True
