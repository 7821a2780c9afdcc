"""YouTube-VIS: an annotation per object, with a mask per frame."""

import json
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

from slotcli.files.writing import output_errors, whole_file
from slotcli.tracks.formats.masked_clip import MaskedClip
from slotcli.tracks.formats.run_lengths import CATEGORIES, CATEGORY, object_runs

_ABSENT = -1
_LISTS = ("segmentations", "bboxes", "areas")


class YtvisMaskWriter:
    """Writes one JSON file of one video.

    An object that appears has an annotation, whose id is its label and whose lists have null for
    the frames without it. Masks are uncompressed run lengths, as in the published data set, and
    `score` is 1, because evaluation tools require it. Masks arrive by frame but are stored by
    object, so they are buffered in a temporary file: memory grows by 8 bytes per object and frame.
    Source: the YouTube-VIS challenge, Data format.
    """

    def __init__(self, path: Path, clip: MaskedClip) -> None:
        self._path = path
        self._clip = clip
        self._pts: list[int] = []
        self._places: dict[int, array[int]] = {}  # offsets in the temporary file, per frame

    def __enter__(self) -> "YtvisMaskWriter":
        with output_errors(self._path):
            self._waiting: BinaryIO = TemporaryFile(dir=self._path.parent)
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: Any) -> None:
        try:
            if kind is None:
                with whole_file(self._path) as file:
                    for piece in self._pieces():
                        file.write(piece)
        finally:
            with suppress(OSError):  # the temporary data are not needed any more
                self._waiting.close()

    def write(
        self,
        labels: UInt8[np.ndarray, "h w"],
        pts: int,
        duration: int,
        picture: UInt8[np.ndarray, "h w 3"] | None = None,
    ) -> None:
        """Add a frame. Raises: OutputError and its kin."""
        frame = len(self._pts)
        self._pts.append(pts)
        with output_errors(self._path):
            for runs in object_runs(labels):
                places = self._places.setdefault(runs.label, array("q"))
                places.extend([_ABSENT] * (frame - len(places)))
                places.append(self._waiting.tell())
                mask = {"size": list(labels.shape), "counts": runs.counts.tolist()}
                for value in (mask, runs.box, runs.area):
                    self._waiting.write(json.dumps(value).encode() + b"\n")

    def _pieces(self) -> Iterator[bytes]:
        height, width = self._clip.size
        frames = len(self._pts)
        shape = {"width": width, "height": height, "length": frames}
        files = [self._clip.frame_file(index) for index in range(frames)]
        video = {"id": 1, **shape, "file_names": files, "pts": self._pts}
        head = {"info": self._clip.info(), "licenses": [], "categories": CATEGORIES}
        yield json.dumps({**head, "videos": [video]})[:-1].encode() + b', "annotations": ['
        for position, label in enumerate(sorted(self._places)):
            facts = {
                "id": label,
                "video_id": 1,
                "category_id": CATEGORY,
                "iscrowd": 0,
                "score": 1.0,
            }
            yield b",\n" if position else b"\n"
            yield json.dumps({**facts, **shape})[:-1].encode()
            for line, name in enumerate(_LISTS):
                yield f', "{name}": ['.encode()
                yield from self._list(self._places[label], line)
                yield b"]"
            yield b"}"
        yield b"]}\n"

    def _list(self, places: "array[int]", line: int) -> Iterator[bytes]:
        """Elements of one list of one object: line `line` of the records at these offsets."""
        for frame in range(len(self._pts)):
            if frame:
                yield b", "
            if frame >= len(places) or places[frame] == _ABSENT:
                yield b"null"
                continue
            self._waiting.seek(places[frame])
            for _ in range(line):
                self._waiting.readline()
            yield self._waiting.readline().rstrip()
