"""A size that a small file only declares costs no memory: it is refused before anything is made."""

import os
import subprocess
import sys
from pathlib import Path

import av
from hostile_inputs import moving, video
from mutations import with_checksums
from PIL import Image

SIDE = 9000  # more pixels than are allowed, but less than Pillow itself refuses
MOST = 32  # MiB; a frame of that size has 115 at least


def huge_mp4(path: Path) -> None:
    """Only the container says it."""
    video("libx264", "yuv420p", "mp4")(path, 0)
    content = bytearray(path.read_bytes())
    place = content.index(b"avc1") + 28
    content[place : place + 4] = SIDE.to_bytes(2, "big") * 2
    path.write_bytes(content)


def huge_avi(path: Path) -> None:
    """Only its JPEGs say it, in their frame headers."""
    video("mjpeg", "yuvj420p", "avi")(path, 0)
    content = path.read_bytes()
    assert b"\xff\xc0\x00\x11\x08\x00\x18\x00\x20" in content
    head = b"\xff\xc0\x00\x11\x08"
    path.write_bytes(
        content.replace(head + b"\x00\x18\x00\x20", head + SIDE.to_bytes(2, "big") * 2)
    )


def huge_webm(path: Path) -> None:
    """Only its key frame says it."""
    video("libvpx-vp9", "yuv420p", "webm", {"deadline": "realtime"})(path, 0)
    with av.open(str(path)) as container:
        key = bytes(next(container.demux(video=0)))
    content = bytearray(path.read_bytes())
    place = content.index(key)
    # VP9 bitstream specification, 6.2: 8 bits, the sync code of 24, colour of 4; then 16 each.
    bits = int.from_bytes(key[:9], "big")
    assert bits >> 4 & 0xFFFFFFFF == 31 << 16 | 23
    size = (SIDE - 1) << 16 | (SIDE - 1)
    bits = bits & ~(0xFFFFFFFF << 4) | size << 4
    content[place : place + 9] = bits.to_bytes(9, "big")
    path.write_bytes(content)


def huge_png(path: Path) -> None:
    path.mkdir()
    Image.fromarray(moving(1, 0)[0]).save(path / "a.png")
    content = (path / "a.png").read_bytes()
    size = SIDE.to_bytes(4, "big") * 2
    (path / "a.png").write_bytes(with_checksums(content[:16] + size + content[24:]))


MEASURED = """
import sys
from pathlib import Path
from slotcli.errors import DataError
from slotcli.video.reader import open_clip

def read(path, max_pixels):
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    before = memory("VmRSS:")
    try:
        with open_clip(Path(path), max_pixels=max_pixels) as reader:
            what = f"{sum(len(chunk) for chunk in reader.chunks(1))} frames"
    except DataError as error:
        what = error.what
    return f"{memory('VmHWM:') - before} {what}"

def memory(name):
    return int(Path("/proc/self/status").read_text().partition(name)[2].split()[0]) >> 10

read("sound.webm", 1 << 26)
for path in sys.argv[1:]:
    print(read(path, 1 << 26))
    print(read(path, 1 << 30))
"""


def test_a_size_that_is_only_declared_costs_no_memory(tmp_path: Path) -> None:
    video("libvpx-vp9", "yuv420p", "webm")(tmp_path / "sound.webm", 0)
    makers = {"mp4": huge_mp4, "avi": huge_avi, "webm": huge_webm, "images": huge_png}
    for name, make in makers.items():
        make(tmp_path / f"huge.{name}")
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEASURED, *(f"huge.{name}" for name in makers)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    print(ended.stdout)
    lines = [line.split(" ", 1) for line in ended.stdout.splitlines()]
    told = dict(zip(makers, lines[::2], strict=True))
    unlimited = dict(zip(makers, lines[1::2], strict=True))
    assert all(int(spent) < MOST for spent, _ in told.values())
    assert told["mp4"][1] == "8 frames"  # their codec knows better
    assert "no frame can be decoded" in told["avi"][1]
    assert "no frame can be decoded" in told["webm"][1]
    assert "more than the 67108864 pixels allowed" in told["images"][1]
    # The limit is what makes the difference: this decoder believes what it is told.
    assert int(unlimited["webm"][0]) > 2 * MOST
