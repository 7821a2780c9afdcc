"""Clips as cameras, editors, networks and bad disks leave them: what the checklist is tried on."""

import struct
from fractions import Fraction

import av
import numpy as np
from made_clips import pictures
from PIL import Image


def coded(
    path,
    count=8,
    size=(48, 64),
    codec="libx264",
    pixel_format="yuv420p",
    *,
    array=None,
    array_format="rgb24",
    pts=None,
    tick=Fraction(1, 1000),
    aspect=None,
    colour=(),
    tags=None,
    container=None,
    options=None,
    **codec_options,
):
    """Writes a clip of ten frames a second, or with `pts` in ticks; `colour` marks the codec's."""
    frames = pictures(count, size) if array is None else array
    with av.open(str(path), "w", format=container, options=options or {}) as out:
        out.metadata.update(tags or {})
        stream = out.add_stream(codec, rate=10, options={"threads": "1", **codec_options})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        context = stream.codec_context
        context.time_base = tick
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        for name, value in dict(colour).items():
            setattr(context, name, value)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), array_format)
            frame.pts = round(index / (10 * tick)) if pts is None else pts[index]
            frame.time_base = tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def of_colour(path, colour, count=8, size=(48, 64)):
    """Writes a clip of one colour."""
    array = np.broadcast_to(np.array(colour, np.uint8), (count, *size, 3))
    return coded(path, array=array)


def still(path, size=(48, 64)):
    """Writes a PNG, whatever `path` is called."""
    Image.fromarray(pictures(1, size)[0]).save(path, format="PNG")
    return path


def animation(path, count=10):
    """Writes an animated GIF, whatever `path` is called."""
    images = [Image.fromarray(picture) for picture in pictures(count, (48, 64))]
    images[0].save(path, format="GIF", save_all=True, append_images=images[1:], duration=100)
    return path


def music(path, cover=False):
    """Writes a FLAC file, with cover art or without."""
    with av.open(str(path), "w", format="flac") as out:
        sound = out.add_stream("flac", rate=8000)
        sound.layout = "mono"
        if cover:
            art = out.add_stream("png", rate=1)
            art.height = art.width = 16
            art.pix_fmt = "rgb24"
            art.disposition = av.stream.Disposition.attached_pic
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
        silence.rate, silence.pts = 8000, 0
        if cover:
            picture = av.VideoFrame.from_ndarray(pictures(1, (16, 16))[0], "rgb24")
            out.mux(art.encode(picture))
            out.mux(art.encode(None))
        out.mux(sound.encode(silence))
        out.mux(sound.encode(None))
    return path


def turned(path, a, b, c, d):
    """Writes x' = ax + cy, y' = bx + dy into the track header of an MP4."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4
    linear = [value * 65536 for value in (a, b, c, d)]
    matrix = struct.pack(">9i", *linear[:2], 0, *linear[2:], 0, 0, 0, 1 << 30)
    content[start + 40 : start + 76] = matrix
    path.write_bytes(content)
    return path


def injured(path, places, length=40):
    """Overwrites `length` bytes at each of `places`, given as shares of the media data."""
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    noise = np.random.default_rng(0)
    for place in places:
        offset = start + int(place * (len(content) - start))
        content[offset : offset + length] = noise.bytes(length)
    path.write_bytes(content)
    return path


def cut(path, share):
    """Keeps so much of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path
