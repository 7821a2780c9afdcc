"""MOVi as VideoSAUR and SlotContrast store it: tar files of numpy arrays, named as in webdataset.

    movi_e-train-000000.tar, ...  or  train/000000.tar, ...
        KEY.video.npy             [t, h, w, 3] uint8
        KEY.segmentations.npy     [t, h, w, 1] integers

Members of other names (flow, depth) are skipped.
"""

import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
from jaxtyping import UInt8

from slotcli.data.formats.file_index import FileIndex, Part
from slotcli.data.formats.movi.layout import StoredFrame
from slotcli.data.formats.splits import SPLIT_NAMES, no_split
from slotcli.errors import DataError, UsageError, printable
from slotcli.files.reading import access_errors
from slotcli.spec import SplitName
from slotcli.types import OUTSIDE

_TAR = re.compile(r"(?:.*[-_])?(\d{4,})\.tar")
VIDEO, LABELS = "video.npy", "segmentations.npy"
# Exceptions of numpy for an array's header, which is a Python expression.
_NO_HEAD = (ValueError, SyntaxError, TokenError, TypeError, OverflowError)


@dataclass(frozen=True)
class _Sample:
    tar: Path
    key: str
    video: Part
    labels: Part | None


@dataclass(frozen=True)
class _Array:
    """An array in a file: the offset, type and shape of its data."""

    start: int
    shape: tuple[int, ...]
    dtype: np.dtype


class TarFiles:
    """The samples of a split in the order of their files; only the requested frames are read."""

    def __init__(self, folder: Path, split: SplitName) -> None:
        self._index = FileIndex(folder)
        self.remarks = self._index.remarks
        self._tars = _tars(folder, split)
        self._samples = [sample for tar in self._tars for sample in self._samples_of(tar)]
        if not self._samples:
            raise DataError(
                f"The {split} files in {printable(folder)} hold no sample with a {VIDEO}.",
                "Check that they are MOVi files.",
            )
        self.labelled = self._samples[0].labels is not None
        for sample in self._samples:
            if self.labelled is not (sample.labels is not None):
                raise DataError(
                    f"{printable(sample.tar)}: {sample.key}.{LABELS} is "
                    + ("missing." if self.labelled else "there, but the first sample has none."),
                    "Fetch the file again.",
                )

    def __len__(self) -> int:
        return len(self._samples)

    def name(self, index: int) -> str:
        sample = self._samples[index]
        return printable(f"{sample.tar.stem}/{sample.key}")

    def video_name(self, index: int) -> str | None:
        return None

    def frames(self, index: int) -> int:
        return self._video(self._samples[index]).shape[0]

    def read(self, index: int, times: Sequence[int]) -> list[StoredFrame]:
        sample = self._samples[index]
        pictures = _frames(sample.tar, self._video(sample), times)
        labels: Sequence[np.ndarray | None] = [None] * len(times)
        if sample.labels is not None:
            labels = self._labels(sample, sample.labels, times)
        origin = f"{printable(sample.tar)}, {printable(sample.key)}"
        return [
            StoredFrame(picture, ids, f"{origin}, frame {time}")
            for picture, ids, time in zip(pictures, labels, times, strict=True)
        ]

    def verify(self, index: int) -> None:
        """Does nothing: a tar file has no checksum of its content."""

    def complete_index(self) -> FileIndex | None:
        return self._index

    def _samples_of(self, tar: Path) -> list[_Sample]:
        arrays: dict[str, dict[str, Part]] = {}
        for part in self._index.parts(tar, _find):
            key, _, kind = _split_name(part[0])
            arrays.setdefault(key, {})[kind] = part
        return [
            _Sample(tar, key, kinds[VIDEO], kinds.get(LABELS))
            for key, kinds in arrays.items()
            if VIDEO in kinds
        ]

    def _video(self, sample: _Sample) -> _Array:
        array = _array(sample.tar, sample.video)
        is_video = len(array.shape) == 4 and array.shape[0] > 0 and array.shape[3] == 3
        if not is_video or array.dtype != np.uint8:
            raise DataError(
                f"{printable(sample.tar)}, {printable(sample.video[0])}: an array of "
                f"{array.dtype} {list(array.shape)} is no video.",
                "Videos are uint8 [frames, height, width, 3].",
            )
        return array

    def _labels(
        self, sample: _Sample, part: Part, times: Sequence[int]
    ) -> list[UInt8[np.ndarray, "h w"]]:
        array = _array(sample.tar, part)
        video = self._video(sample)
        where = f"{printable(sample.tar)}, {printable(part[0])}"
        shapes = (video.shape[:3], (*video.shape[:3], 1))
        if array.dtype.kind not in "iu" or array.shape not in shapes:
            raise DataError(
                f"{where}: an array of {array.dtype} {list(array.shape)} does not label a video "
                f"of {list(video.shape)}.",
                "Labels are integers, one a pixel.",
            )
        ids = [frame.reshape(video.shape[1:3]) for frame in _frames(sample.tar, array, times)]
        if any(frame.min() < 0 or frame.max() >= OUTSIDE for frame in ids):
            raise DataError(f"{where}: its ids leave 0 to 254.", "Is this a MOVi file?")
        return [frame.astype(np.uint8) for frame in ids]


def _split_name(name: str) -> tuple[str, str, str]:
    """Key, dot and kind of a member: webdataset splits them at the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    key, dot, kind = file.partition(".")
    return folder + slash + key, dot, kind


def _find(path: Path) -> list[Part]:
    """The video and label arrays in a tar file."""
    with access_errors(path), path.open("rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                members = list(tar)
        except tarfile.TarError as error:
            raise DataError(
                f"{printable(path)} is no whole tar file: {error}.", "Fetch the file again."
            ) from error
        # A file that was cut off between two members shows it by this alone.
        used = max((member.offset_data + member.size for member in members), default=0)
        file.seek(used + -used % tarfile.BLOCKSIZE)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise DataError(
                f"{printable(path)} has no end: it was cut off.", "Fetch the file again."
            )
    return [
        (member.name, member.offset_data, member.size)
        for member in members
        if member.isreg() and _split_name(member.name)[2] in (VIDEO, LABELS)
    ]


def _array(path: Path, part: Part) -> _Array:
    """Reads the header of an array in .npy format; refuses arrays of Python objects."""
    name, start, length = part
    with access_errors(path), path.open("rb") as file:
        file.seek(start)
        try:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, columns_first, dtype = read(file)
            begin = file.tell()
            if columns_first or dtype.hasobject:
                raise ValueError("its numbers are not stored row by row")
            if begin + int(np.prod(shape, dtype=object)) * dtype.itemsize != start + length:
                raise ValueError("its length is not that of its shape")
        except _NO_HEAD as error:
            raise DataError(
                f"{printable(path)}, {printable(name)} is no array: {printable(str(error))}.",
                "Fetch the file again.",
            ) from error
    return _Array(begin, shape, dtype)


def _frames(path: Path, array: _Array, times: Sequence[int]) -> list[np.ndarray]:
    """The array at each of the given indices on its first axis."""
    shape = array.shape[1:]
    length = int(np.prod(shape)) * array.dtype.itemsize
    found: list[np.ndarray] = []
    with access_errors(path), path.open("rb") as file:
        for time in times:
            file.seek(array.start + time * length)
            content = file.read(length)
            if time >= array.shape[0] or len(content) < length:
                raise DataError(f"{printable(path)} has no frame {time}.", "Fetch it again.")
            found.append(np.frombuffer(content, array.dtype).reshape(shape))
    return found


def tar_files(folder: Path, split: SplitName) -> list[tuple[int, Path]]:
    """The tar files of a split, each with its number, in that order. Raises AccessError."""
    found: list[tuple[int, Path]] = []
    with access_errors(folder):
        for name in SPLIT_NAMES[split]:
            of_split = re.compile(rf"(?:.*[-_])?{name}[-_]\d{{4,}}\.tar")
            found += [(_number(f), f) for f in folder.iterdir() if of_split.fullmatch(f.name)]
            if (folder / name).is_dir():
                inside = (folder / name).iterdir()
                found += [(_number(f), f) for f in inside if _TAR.fullmatch(f.name)]
    return sorted(found)


def _number(path: Path) -> int:
    match = _TAR.fullmatch(path.name)
    assert match is not None, "only such files are asked for"
    return int(match[1])


def _tars(folder: Path, split: SplitName) -> list[Path]:
    """The tar files of a split, from 0 to the last without a gap."""
    found = tar_files(folder, split)
    if not found:
        raise no_split(folder, split)
    for expected, (number, path) in enumerate(found):
        if number < expected:
            raise UsageError(
                f"{printable(path)} and {printable(found[expected - 1][1])} have one number.",
                "Give each data set a folder of its own.",
            )
        if number > expected:
            absent = re.sub(r"\d+(?=\.tar$)", lambda d, n=expected: f"{n:0{len(d[0])}d}", path.name)
            raise DataError(
                f"{printable(path.with_name(absent))} is missing.",
                "Fetch it; clips are not left out silently.",
            )
    return [path for _, path in found]
