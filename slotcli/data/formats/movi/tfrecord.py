"""TFRecord files as TensorFlow Datasets writes them, read without TensorFlow.

A file is a sequence of records: length (u64), its checksum, data, its checksum, little-endian. The
data is a tf.train.Example, a protobuf map from a feature's name to a list of bytes, floats or
integers. Only the requested features are read; the others (of MOVi, megabytes of flow) are skipped.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from slotcli.errors import DataError, printable
from slotcli.files.reading import access_errors

_HEAD = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
# Numbers of protobuf fields: of a map's entry, then of a Feature. Then protobuf's wire type.
_NAME, _FEATURE = 1, 2
_BYTES_LIST = 1
_LENGTH_DELIMITED = 2

Span = tuple[int, int]  # start and end of a segment of a file


@dataclass(frozen=True)
class Record:
    """The position of a record's data; `number` counts the file's records from 0."""

    path: Path
    number: int
    start: int
    length: int

    def __str__(self) -> str:
        return f"{printable(self.path)}, record {self.number}"


def find_records(path: Path) -> list[Record]:
    """The records of a file, by their lengths alone; the checksum of each length is checked.

    Raises NoInputError, AccessError, or DataError where the file is cut off or damaged.
    """
    found: list[Record] = []
    with access_errors(path), path.open("rb") as file:
        total, position = path.stat().st_size, 0
        while position < total:
            record = Record(path, len(found), position + _HEAD.size, 0)
            head = _read(file, position, _HEAD.size)
            if len(head) < _HEAD.size:
                raise _damaged(record, "the file ends within it")
            length, checksum = _HEAD.unpack(head)
            if checksum != masked_checksum(head[:8]):
                raise _damaged(record, "the checksum of its length is wrong")
            position = record.start + length + _CHECKSUM.size
            if position > total:
                raise _damaged(record, "the file ends within it")
            found.append(Record(path, record.number, record.start, length))
    return found


def masked_checksum(data: bytes) -> int:
    """CRC-32C as TFRecord files hold it. Source: tensorflow/core/lib/hash/crc32c.h, Mask."""
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def check_record(record: Record) -> None:
    """Reads all of a record and checks its checksum. Raises DataError, and as `find_records`."""
    with access_errors(record.path), record.path.open("rb") as file:
        data = _read(file, record.start, record.length + _CHECKSUM.size)
    if len(data) < record.length + _CHECKSUM.size:
        raise _damaged(record, "the file ends within it")
    if _CHECKSUM.unpack(data[record.length :])[0] != masked_checksum(data[: record.length]):
        raise _damaged(record, "its checksum is wrong")


class Example:
    """The features of one record that are lists of bytes; each item is read when requested."""

    def __init__(self, record: Record, file: BinaryIO) -> None:
        self._record = record
        self._file = file
        self._features = dict(self._spans())
        self._items: dict[str, list[Span]] = {}

    def count(self, feature: str) -> int:
        """Number of items of a feature. Raises DataError where there is no such feature."""
        return len(self._items_of(feature))

    def item(self, feature: str, index: int) -> bytes:
        """One item of a feature. Raises DataError where there is none."""
        items = self._items_of(feature)
        if index >= len(items):
            raise _damaged(self._record, f"its {feature!r} has only {len(items)} items")
        start, end = items[index]
        return _read(self._file, start, end - start)

    def _items_of(self, feature: str) -> list[Span]:
        if feature not in self._features:
            raise _damaged(self._record, f"it has no feature {feature!r}")
        if feature not in self._items:
            self._items[feature] = [item for _, item in self._fields(self._features[feature])]
        return self._items[feature]

    def _spans(self) -> Iterator[tuple[str, Span]]:
        """The name of each feature that is a list of bytes, and the position of the list."""
        whole = (self._record.start, self._record.start + self._record.length)
        for _, features in self._fields(whole):
            for _, entry in self._fields(features):
                parts = dict(self._fields(entry))
                if not {_NAME, _FEATURE} <= parts.keys():
                    continue
                for kind, values in self._fields(parts[_FEATURE]):
                    if kind == _BYTES_LIST:
                        start, end = parts[_NAME]
                        name = _read(self._file, start, end - start)
                        yield name.decode("utf-8", "replace"), values

    def _fields(self, span: Span) -> Iterator[tuple[int, Span]]:
        """The fields of a message, all of them length-delimited, by their numbers."""
        position, end = span
        while position < end:
            head = _read(self._file, position, min(12, end - position))
            tag, length, taken = _tag_and_length(head)
            position += taken
            if tag & 7 != _LENGTH_DELIMITED or position + length > end:
                raise _damaged(self._record, "it is no tf.train.Example")
            yield tag >> 3, (position, position + length)
            position += length


@contextmanager
def open_example(record: Record) -> Iterator[Example]:
    """A record's features, while its file is open.

    Raises DataError where it is no tf.train.Example, and as `find_records`.
    """
    with access_errors(record.path), record.path.open("rb") as file:
        yield Example(record, file)


def _tag_and_length(head: bytes) -> tuple[int, int, int]:
    """Two varints, and their length in bytes; the tag is 0, which is invalid, if there are less."""
    values, value, shift = [], 0, 0
    for taken, byte in enumerate(head, start=1):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(value)
            value, shift = 0, 0
        if len(values) == 2:
            return values[0], values[1], taken
    return 0, 0, len(head)


def _read(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def _damaged(record: Record, how: str) -> DataError:
    return DataError(f"{record}: {how}.", "Fetch the file again.")
