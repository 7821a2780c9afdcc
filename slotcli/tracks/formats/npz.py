"""NumPy's archive of arrays."""

import gzip
import shutil
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
from jaxtyping import Int64, UInt8

from slotcli.files.writing import output_errors, whole_file
from slotcli.types import Size

FAST = 1  # gzip level of the temporary file, which is compressed again at the end
BLOCK_BYTES = 1 << 20


class NpzMaskWriter:
    """`labels` uint8 [t, h, w]; `pts` and `duration` int64 [t], in ticks; `time_base` int64 [2].

    `time_base` is the numerator and denominator of seconds per tick. `numpy.load(path)` reads the
    file without pickle. An array starts with its shape, but a clip's length is known only at its
    end: until then the compressed labels are in a temporary file without a name.
    """

    def __init__(self, path: Path, size: Size, time_base: Fraction) -> None:
        self._path = path
        self._size = size
        self._time_base = time_base
        self._pts: list[int] = []
        self._duration: list[int] = []

    def __enter__(self) -> "NpzMaskWriter":
        with output_errors(self._path):
            self._waiting: BinaryIO = TemporaryFile(dir=self._path.parent)
            self._packed = gzip.GzipFile(fileobj=self._waiting, mode="wb", compresslevel=FAST)
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: Any) -> None:
        try:
            if kind is None:
                with whole_file(self._path) as file:
                    self._packed.close()
                    self._archive(file)
        finally:
            with suppress(OSError):  # the temporary data are not needed any more
                self._packed.close()
            with suppress(OSError):
                self._waiting.close()

    def write(
        self,
        labels: UInt8[np.ndarray, "h w"],
        pts: int,
        duration: int,
        picture: UInt8[np.ndarray, "h w 3"] | None = None,
    ) -> None:
        """Add a frame. Raises: OutputError and its kin."""
        self._pts.append(pts)
        self._duration.append(duration)
        with output_errors(self._path):
            self._packed.write(np.ascontiguousarray(labels).data)

    def _archive(self, file: BinaryIO) -> None:
        header = {
            "descr": "|u1",
            "fortran_order": False,
            "shape": (len(self._pts), *self._size),
        }
        self._waiting.seek(0)
        with ZipFile(file, "w") as archive:
            with (
                archive.open(_member("labels"), "w", force_zip64=True) as member,
                gzip.GzipFile(fileobj=self._waiting) as labels,
            ):
                np.lib.format.write_array_header_1_0(member, header)
                shutil.copyfileobj(labels, member, BLOCK_BYTES)
            ratio = [self._time_base.numerator, self._time_base.denominator]
            _add(archive, "pts", np.array(self._pts, np.int64))
            _add(archive, "duration", np.array(self._duration, np.int64))
            _add(archive, "time_base", np.array(ratio, np.int64))


def _member(name: str) -> ZipInfo:
    # ZipInfo has a fixed date, so that equal masks give equal files.
    member = ZipInfo(f"{name}.npy")
    member.compress_type = ZIP_DEFLATED
    return member


def _add(archive: ZipFile, name: str, values: Int64[np.ndarray, " n"]) -> None:
    with archive.open(_member(name), "w") as member:
        np.lib.format.write_array(member, values, allow_pickle=False)
