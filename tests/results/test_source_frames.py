"""A frame at random is the frame in order, and is decoded without those far before it."""

import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slotcli.errors import DataError
from slotcli.results.source_frames import SourceFrames
from slotcli.tracks.slot_file import SlotFile
from slotcli.tracks.transform import Transform
from slotcli.video.reader import ClipReader, open_clip

FRAMES = 40
KEYFRAMES = 12  # frames from one to the next
CODECS = {
    "closed.mp4": ["libx264", "-bf", "3"],
    "open.mkv": ["libx264", "-bf", "3", "-x264-params", "open-gop=1:scenecut=0"],
    "mpeg2.mpg": ["mpeg2video", "-bf", "2", "-b:v", "2M"],
    "vp9.webm": ["libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"],
    "every.avi": ["mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p"],
}


def slot_file_of(path: Path, stride: int = 1) -> tuple[SlotFile, np.ndarray]:
    """A slot file of every frame of a clip, or of every `stride`-th, and these frames."""
    with open_clip(path) as reader:
        chunks = list(reader.chunks(16))
        info = reader.info
    joined = {
        name: np.concatenate([getattr(chunk, name) for chunk in chunks])[::stride]
        for name in ("frames", "pts", "duration", "frame_index", "flags")
    }
    frames = joined.pop("frames")
    count = len(frames)
    transform = Transform(info.size, (0, 0, *info.size), (32, 32)).to_json()
    tick = [info.time_base.numerator, info.time_base.denominator]
    tables = {name: {} for name in ("model", "sampling", "run", "statistics")}
    slot_file = SlotFile(
        slots=np.zeros((count, 1, 1), np.float32),
        attention=np.ones((count, 1, 1, 1), np.float16),
        metadata={**tables, "transform": transform, "source": {"time_base": tick}},
        **joined,
    )
    return slot_file, frames


@pytest.fixture(scope="module")
def clips(ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    source = f"testsrc2=s=48x32:r=10:d={FRAMES / 10}"
    for name, codec in CODECS.items():
        command = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p"]
        command += ["-g", str(KEYFRAMES), "-threads", "1", "-c:v", *codec, str(folder / name)]
        subprocess.run(command, check=True, timeout=60)
    (folder / "images").mkdir()
    for number in range(4):
        image = np.full((20, 30, 3), 50 * number, np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("name", "stride"), [*((name, 1) for name in (*CODECS, "images")), ("open.mkv", 3)]
)
def test_frames_in_any_order_are_those_in_order(clips: Path, name: str, stride: int) -> None:
    slot_file, expected = slot_file_of(clips / name, stride)
    assert not slot_file.flags.any()
    frames = SourceFrames(slot_file, clips / name, sound=True)
    # With an open group of pictures the frames before a keyframe need the one before it.
    near = [t for t in range(KEYFRAMES - 3, KEYFRAMES + 2) if t < len(expected)]
    for t in [*random.Random(0).sample(range(len(expected)), min(8, len(expected))), *near]:
        np.testing.assert_array_equal(frames[t], expected[t], err_msg=str(t))
    np.testing.assert_array_equal(frames[-3:], expected[-3:])
    np.testing.assert_array_equal(np.stack(list(frames)), expected)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the frames that are decoded to pixels, one entry each."""
    counted: list[int] = []
    picture = ClipReader._picture
    monkeypatch.setattr(
        ClipReader, "_picture", lambda self, frame: counted.append(1) or picture(self, frame)
    )
    return counted


@pytest.mark.parametrize("name", ["closed.mp4", "open.mkv", "vp9.webm"])
def test_a_late_frame_is_decoded_from_its_keyframe(
    clips: Path, name: str, decoded: list[int]
) -> None:
    slot_file, expected = slot_file_of(clips / name)
    frames = SourceFrames(slot_file, clips / name, sound=True)
    decoded.clear()
    np.testing.assert_array_equal(frames[FRAMES - 8], expected[FRAMES - 8])
    assert 0 < len(decoded) <= KEYFRAMES + 1


def test_of_a_damaged_clip_frames_are_counted_from_the_start(
    clips: Path, decoded: list[int]
) -> None:
    """Its times may be repaired ones, which are not those in the file."""
    slot_file, expected = slot_file_of(clips / "closed.mp4")
    frames = SourceFrames(slot_file, clips / "closed.mp4", sound=False)
    decoded.clear()
    np.testing.assert_array_equal(frames[FRAMES - 8], expected[FRAMES - 8])
    assert len(decoded) >= FRAMES - 8
    np.testing.assert_array_equal(frames[5], expected[5])


def test_another_clip_is_refused(clips: Path) -> None:
    slot_file, _ = slot_file_of(clips / "closed.mp4")
    with pytest.raises(DataError, match="not the video"):
        SourceFrames(slot_file, clips / "images", sound=True)
    later = SlotFile(**{**vars(slot_file), "pts": slot_file.pts + 1})
    with pytest.raises(DataError, match="not the video"):
        SourceFrames(later, clips / "closed.mp4", sound=True)[10]
