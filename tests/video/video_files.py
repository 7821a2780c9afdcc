"""Makes the small video files that the tests of slotcli.video read."""

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from slotcli.types import FrameChunk
from slotcli.video.reader import open_clip


def moving_frames(count: int, size: tuple[int, int]) -> np.ndarray:
    """Smooth colours that move, uint8 [t, h, w, 3], every frame unlike the others."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / 16
    t = np.arange(count)[:, None, None] / 4
    waves = [np.sin(x + t), np.cos(y + 2 * t), np.sin(x + y - t)]
    return np.stack([127.5 + 100 * wave for wave in waves], axis=-1).round().astype(np.uint8)


def encode(
    path: Path,
    frames: np.ndarray,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    *,
    source_format: str = "rgb24",
    pts: list[int] | None = None,
    time_base: Fraction = Fraction(1, 10),
    container: str | None = None,
    aspect: Fraction | None = None,
    colour: tuple[int, int] = (2, 0),
    codec_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encodes uint8 frames; `colour` is the (matrix, range) to convert to and to mark."""
    with av.open(str(path), "w", format=container, options=container_options or {}) as out:
        stream = out.add_stream(codec, rate=1 / time_base, options=codec_options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = time_base
        stream.codec_context.thread_count = 1
        if colour != (2, 0):
            stream.codec_context.colorspace, stream.codec_context.color_range = colour
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for index, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), source_format)
            if colour != (2, 0):
                frame = frame.reformat(
                    format=pixel_format, dst_colorspace=colour[0], dst_color_range=colour[1]
                )
            frame.pts = index if pts is None else pts[index]
            frame.time_base = time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def read(path: Path, length: int = 7) -> tuple[FrameChunk, object]:
    """The whole clip as one chunk, and its exhausted reader."""
    with open_clip(path) as reader:
        chunks = list(reader.chunks(length))
    assert all(len(chunk) == length for chunk in chunks[:-1])
    joined = {
        name: np.concatenate([getattr(chunk, name) for chunk in chunks])
        for name in ("frames", "pts", "duration", "frame_index", "flags")
    }
    return FrameChunk(**joined), reader


def set_display_matrix(path: Path, linear: tuple[int, int, int, int]) -> None:
    """Writes (a, b, c, d) into the track header of an MP4: x' = ax + cy, y' = bx + dy."""
    a, b, c, d = (value * 65536 for value in linear)
    matrix = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes()
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4
    assert content[start] == 0, "version 0 of the box, whose layout this follows"
    content[start + 40 : start + 76] = matrix
    path.write_bytes(content)


def moving(seconds: float, *, rate: str = "10", size: str = "96x64") -> list[str]:
    """The arguments of ffmpeg for a source of moving shapes."""
    source = f"testsrc2=s={size}:r={rate}:d={seconds}"
    return ["-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p"]


def made(ffmpeg: str, path: Path, *arguments: object) -> Path:
    """A file that ffmpeg makes of `arguments`."""
    command = [ffmpeg, "-v", "error", "-y", *map(str, arguments), str(path)]
    subprocess.run(command, check=True, timeout=120)
    return path
