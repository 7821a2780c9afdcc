"""Small clips to run the commands on, and what the tests look at afterwards."""

import hashlib
import sys
from contextlib import redirect_stderr, redirect_stdout
from fractions import Fraction
from io import StringIO
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

TICK = Fraction(1, 12800)
# Frames of different lengths, the first one later than 0.
UNEVEN = [1024, 1536, 2560, 2600, 4000, 6001, 6513, 9000]


def pictures(count, size):
    """Two squares that move over a smooth ground, uint8 [t, h, w, 3]."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    clip = np.empty((count, height, width, 3), np.uint8)
    clip[:] = np.stack([40 + x, 60 + y, 90 + (x + y) // 2], axis=-1).clip(0, 255)
    side = max(2, height // 4)
    for index, frame in enumerate(clip):
        frame[2 : 2 + side, index % width : index % width + side] = (230, 40, 40)
        frame[height - 2 - side : height - 2, -side - index % width :][:, :side] = (40, 220, 60)
    return clip


def make_clip(path, count=8, size=(48, 64), pts=None, codec="libx264", **options):
    """Writes a clip whose frames come every 1/25 s, or at `pts` in ticks of 1/12800 s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    even = size[0] % 2 == size[1] % 2 == 0
    with path.open("wb") as file, av.open(file, "w", format="mp4", options=options) as container:
        stream = container.add_stream(codec, rate=25, options={"threads": "1", "mbtree": "0"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p" if even else "yuv444p"
        stream.codec_context.time_base = TICK
        for index, picture in enumerate(pictures(count, size)):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts = index * 512 if pts is None else pts[index]
            frame.time_base = TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_sound(path):
    """Writes a file with an audio stream alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_images(folder, count=3, size=(40, 40)):
    folder.mkdir(parents=True)
    for index, picture in enumerate(pictures(count, size)):
        Image.fromarray(picture).save(folder / f"{index}.png")
    return folder


def decoded(path):
    """The frames of a video, RGB, and the seconds each begins at, exact."""
    with path.open("rb") as file, av.open(file) as container:
        frames = list(container.decode(video=0))
    times = [frame.pts * Fraction(frame.time_base) for frame in frames]
    return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]), times


def mask_files(folder):
    """The labels of masks/, [t, h, w]."""
    return np.stack([np.array(Image.open(path)) for path in sorted(folder.glob("*.png"))])


def tree(folder):
    """Every path below a folder, hidden ones too, and what is in the files."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in Path(folder).rglob("*")
    }


def assert_refused(err):
    """Two lines on stderr, what happened and what to do, beside notices; and no traceback."""
    lines = err.splitlines()
    assert [line for line in lines if line.startswith(("error", " "))] == lines[-2:], err
    assert lines[-2].startswith("error: "), err
    assert lines[-1].startswith("  "), err
    assert len(lines[-1].strip()) > 8, err
    assert "Traceback" not in err


def run_in(folder, *arguments):
    """slotcli's main as the fixture `cli` runs it, for fixtures that outlive a test."""
    from slotcli.__main__ import main

    out, err, threads = StringIO(), StringIO(), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["slotcli", *map(str, arguments)])
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    torch.set_num_threads(threads)
    return ended.value.code, out.getvalue(), err.getvalue()
