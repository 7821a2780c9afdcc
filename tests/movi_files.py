"""MOVi in its layouts, written by TensorFlow Datasets, tarfile, numpy and Pillow."""

import io
import shutil
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

TFDS = Path(__file__).parent / "fixtures" / "movi_tfds"
FRAMES, SIZE = 6, (12, 12)

Truth = tuple[np.ndarray, np.ndarray]  # video [t, h, w, 3] and labels [t, h, w], uint8


def copied_tfds(folder: Path) -> Path:
    """A copy of the record files, to be damaged."""
    shutil.copytree(TFDS, folder)
    (folder / "expected.npz").unlink()
    return folder


def tfds_truth(split: str) -> list[tuple[str, Truth]]:
    """Video names and pixels of the records of a split, in the order in which TFDS reads them."""
    expected = np.load(TFDS / "expected.npz")
    keys = sorted(key for key in expected if key.startswith(f"{split}/") and "/video" in key)
    return [
        (
            key.split("/")[2],
            (expected[key], expected[key.replace("/video", "/segmentations")][..., 0]),
        )
        for key in keys
    ]


def made_up(seed: int, frames: int = 4, size: tuple[int, int] = (10, 14)) -> Truth:
    """Noise, and labels with gaps between the ids."""
    random = np.random.default_rng(seed)
    video = random.integers(0, 256, (frames, *size, 3), dtype=np.uint8)
    return video, random.choice(np.array([0, 1, 4, 23], np.uint8), (frames, *size))


def write_tar(path: Path, samples: Mapping[str, Truth], *, labels: bool = True) -> Path:
    """A webdataset shard as VideoSAUR's, with a member that is of no use."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, (video, ids) in samples.items():
            add_array(tar, f"{key}.video.npy", video)
            if labels:
                add_array(tar, f"{key}.segmentations.npy", ids[..., None])
            add_array(tar, f"{key}.forward_flow.npy", np.zeros((2, 2), np.float32))
    return path


def add_array(tar: tarfile.TarFile, name: str, array: np.ndarray) -> None:
    content = io.BytesIO()
    np.save(content, array)
    member = tarfile.TarInfo(name)
    member.size = content.tell()
    tar.addfile(member, io.BytesIO(content.getvalue()))


def write_frames(folder: Path, truth: Truth, *, suffix: str = ".png", masks: bool = True) -> Path:
    """A clip as the authors' loader wants it: 000000.jpg (or .png) and 000000_mask.png."""
    folder.mkdir(parents=True)
    for time, (picture, ids) in enumerate(zip(*truth, strict=True)):
        Image.fromarray(picture).save(folder / f"{time:06d}{suffix}")
        if masks:
            Image.fromarray(ids).save(folder / f"{time:06d}_mask.png")
    return folder


def write_record(path: Path, features: Mapping[str, list[bytes]]) -> Path:
    """A file of one record, a tf.train.Example of lists of bytes."""
    entries = b""
    for name, items in features.items():
        values = b"".join(_field(1, item) for item in items)
        entries += _field(1, _field(1, name.encode()) + _field(2, _field(1, values)))
    data = _field(1, entries)
    head = struct.pack("<Q", len(data))
    path.write_bytes(head + _checksum(head) + data + _checksum(data))
    return path


def png(picture: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    return content.getvalue()


def slow_crc32c(data: bytes) -> int:
    """The definition, bit by bit."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def _checksum(data: bytes) -> bytes:
    crc = slow_crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _field(number: int, content: bytes) -> bytes:
    length, size = b"", len(content)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content
