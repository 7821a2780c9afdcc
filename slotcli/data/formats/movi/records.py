"""MOVi as TensorFlow Datasets publishes it: `movi_e-train.tfrecord-00053-of-01024` and so on."""

import json
import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from slotcli.data.formats.file_index import FileIndex, Part
from slotcli.data.formats.movi.layout import StoredFrame
from slotcli.data.formats.movi.tfrecord import Record, check_record, find_records, open_example
from slotcli.data.formats.pictures import labels_from, picture_from
from slotcli.data.formats.splits import no_split
from slotcli.errors import DataError, UsageError, printable
from slotcli.files.reading import access_errors
from slotcli.spec import SplitName
from slotcli.types import OUTSIDE

INFO = "dataset_info.json"
SHARD = re.compile(r"(\w+)-(train|validation|test)\.tfrecord-(\d{5})-of-(\d{5})")


class RecordFiles:
    """The records of a split, by number; a shard is opened when first needed.

    The checksum of a record's length is always checked, that of its data only by `verify`, which
    takes twice as long as decoding, and reads all of the record, a tenth of which is images. Images
    have checksums of their own, and decoding detects any wrong bit of one.
    """

    labelled = True

    def __init__(self, folder: Path, split: SplitName) -> None:
        self._shards = _shards(folder, split)
        self._index = FileIndex(folder)
        self.remarks = self._index.remarks
        self._expected = _shard_lengths(folder, split, len(self._shards))
        lengths = self._expected or [len(self._parts(shard)) for shard in self._shards]
        self._ends = list(accumulate(lengths))

    def __len__(self) -> int:
        return self._ends[-1]

    def name(self, index: int) -> str:
        shard, number = self._place(index)
        return f"{shard:05d}-{number:03d}"

    def video_name(self, index: int) -> str | None:
        with open_example(self._record(index)) as example:
            return example.item("metadata/video_name", 0).decode("utf-8", "replace")

    def frames(self, index: int) -> int:
        record = self._record(index)
        with open_example(record) as example:
            frames = example.count("video")
        if frames == 0:
            raise DataError(f"{record}: it has no frames.", "Fetch the file again.")
        return frames

    def read(self, index: int, times: Sequence[int]) -> list[StoredFrame]:
        record = self._record(index)
        found: list[StoredFrame] = []
        with open_example(record) as example:
            if (masks := example.count("segmentations")) != (frames := example.count("video")):
                raise DataError(
                    f"{record}: it has {masks} masks for {frames} frames.", "Fetch the file again."
                )
            for time in times:
                origin = f"{record}, frame {time}"
                labels = labels_from(example.item("segmentations", time), origin)
                if labels.max() == OUTSIDE:
                    raise DataError(
                        f"{origin}: it has an object of number {OUTSIDE}.",
                        "Labels go up to 254; is this a MOVi file?",
                    )
                picture = picture_from(example.item("video", time), origin)
                found.append(StoredFrame(picture, labels, origin))
        return found

    def verify(self, index: int) -> None:
        check_record(self._record(index))

    def complete_index(self) -> FileIndex | None:
        for shard in self._shards:
            self._parts(shard)
        return self._index

    def _place(self, index: int) -> tuple[int, int]:
        """The shard of a record, and its number in the shard."""
        shard = bisect_right(self._ends, index)
        return shard, index - (self._ends[shard - 1] if shard else 0)

    def _record(self, index: int) -> Record:
        shard, number = self._place(index)
        path = self._shards[shard]
        parts = self._parts(path)
        if self._expected is not None and len(parts) != self._expected[shard]:
            raise DataError(
                f"{printable(path)} has {len(parts)} records, and by {INFO} it should have "
                f"{self._expected[shard]}.",
                "Fetch the file again.",
            )
        _, start, length = parts[number]
        return Record(path, number, start, length)

    def _parts(self, path: Path) -> list[Part]:
        return self._index.parts(path, _find)


def _find(path: Path) -> list[Part]:
    return [("", record.start, record.length) for record in find_records(path)]


def _shards(folder: Path, split: SplitName) -> list[Path]:
    """The files of a split, all of them."""
    with access_errors(folder):
        names = [match for path in folder.iterdir() if (match := SHARD.fullmatch(path.name))]
    if len(sets := {match[1] for match in names}) > 1:
        raise UsageError(
            f"{printable(folder)} holds several data sets: {', '.join(sorted(sets))}.",
            "Give each a folder of its own.",
        )
    found = [match for match in names if match[2] == split]
    if not found:
        raise no_split(folder, split)
    if len(totals := {match[4] for match in found}) > 1:
        raise DataError(
            f"{printable(folder)}: the names of the {split} files disagree on how many there are: "
            f"{', '.join(sorted(totals))}.",
            "Keep the files of one version in a folder.",
        )
    first = found[0]
    numbers = {int(match[3]) for match in found}
    paths = [
        folder / f"{first[1]}-{split}.tfrecord-{number:05d}-of-{first[4]}"
        for number in range(int(first[4]))
    ]
    if absent := [path for number, path in enumerate(paths) if number not in numbers]:
        raise DataError(
            f"{printable(absent[0])} is missing, as are {len(absent) - 1} other files of {split}.",
            "Fetch them; clips are not left out silently.",
        )
    return paths


def _shard_lengths(folder: Path, split: SplitName, shards: int) -> list[int] | None:
    """The number of records that each file should have; None where no metadata has it."""
    path = folder / INFO
    if not path.exists():
        return None
    with access_errors(path):
        content = path.read_bytes()
    try:
        splits = {entry["name"]: entry for entry in json.loads(content)["splits"]}
        lengths = [int(length) for length in splits[split]["shardLengths"]]
        if len(lengths) != shards:
            raise ValueError(f"it tells of {len(lengths)} {split} files, and there are {shards}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{printable(path)} does not describe the files beside it: {printable(str(error))}.",
            "Fetch it again, or remove it: the files can be read without.",
        ) from error
    return lengths
