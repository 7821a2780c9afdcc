"""YouTube-VIS 2019, 2021 and 2022: folders of JPEG files, and one JSON file with all the masks."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import UInt8

from slotcli.data.dataset import Dataset
from slotcli.data.formats.coco_masks import decode_mask
from slotcli.data.formats.pictures import as_clip, read_picture, resized_labels
from slotcli.data.formats.splits import NoSplitError
from slotcli.errors import DataError, NoInputError, printable
from slotcli.files.reading import access_errors
from slotcli.spec import SplitName
from slotcli.types import Clip, Size
from slotcli.video.pixels import resized

PARTS = ("train", "valid", "test")
_HELD_OUT = 300
# Exceptions of reading JSON whose content is not checked.
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class _Instance:
    number: int  # the annotation's number in the file
    label: int  # in the clip
    segmentations: Sequence[object]  # one per frame, None where it is not visible


@dataclass(frozen=True)
class _Video:
    name: str
    size: Size
    files: tuple[str, ...]
    instances: tuple[_Instance, ...]


class YoutubeVis(Dataset):
    """The videos of a split at their annotated frames, squeezed to the size: area, masks nearest.

    The masks of the official validation are not public. As in VideoSAUR, the last 300 videos of the
    official training set are for validation here (half of it where it has fewer than 600), the
    others for training; the official validation is for testing, or the official test set if that is
    missing. Labels exist if the JSON file has annotations.

    A clip's instances are 1, 2, ... in the order of their annotations' ids, through all its frames.
    Where two overlap, the one that is smaller in that frame is on top (of equal ones the later);
    crowds are 255, below all. `folder` holds `train` and `valid`, with `instances.json` in them or
    `train.json` and `valid.json` in or beside them. Raises NoInputError naming a missing file,
    DataError for an index or a mask that cannot be read.
    """

    def __init__(self, folder: Path, split: SplitName, size: Size | None) -> None:
        self.size = size
        names = PARTS[1:] if split == "test" else PARTS[:1]
        part = next(
            (folder / name for name in names if (folder / name).is_dir()), folder / names[0]
        )
        if not part.is_dir():
            raise NoSplitError(
                f"{printable(part)}: there is no such folder.",
                "Give the folder that has train and valid in it.",
            )
        self._pictures = part / "JPEGImages"
        self._index = _index_of(part)
        videos, self.labelled = _read(self._index, split)
        self._videos = videos
        if not videos:
            raise NoSplitError(
                f"{printable(self._index)} has no videos for {split}.", "Give more videos."
            )
        for video in videos:
            self._check(video)

    def __len__(self) -> int:
        return len(self._videos)

    def name(self, index: int) -> str:
        return self._videos[index].name

    def frames(self, index: int) -> int:
        return len(self._videos[index].files)

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        video = self._videos[index]
        frames = [start + step * stride for step in range(length)]
        paths = [self._pictures / video.name / video.files[frame] for frame in frames]
        pictures, labels = [], []
        for frame, path in zip(frames, paths, strict=True):
            picture = read_picture(path)
            if picture.shape[:2] != video.size:
                height, width = video.size
                raise DataError(
                    f"{printable(path)} is not {width}x{height}, as {self._index.name} has it.",
                    "Fetch the file again.",
                )
            if self.labelled:
                drawn = self._drawn(video, frame)
                labels.append(drawn if self.size is None else resized_labels(drawn, self.size))
            pictures.append(picture if self.size is None else resized(picture, self.size))
        return as_clip(paths, pictures, labels if self.labelled else None)

    def _check(self, video: _Video) -> None:
        folder = self._pictures / video.name
        with access_errors(folder):
            present = set(os.listdir(folder))
        for file in video.files:
            if file not in present:
                raise NoInputError(
                    f"{printable(folder / file)} is missing.",
                    "Unpack YouTube-VIS again; no frame is left out.",
                )

    def _drawn(self, video: _Video, frame: int) -> UInt8[np.ndarray, "h w"]:
        masks = []
        for instance in video.instances:
            segmentation = instance.segmentations[frame]
            if segmentation is None:
                continue
            try:
                mask = decode_mask(segmentation, video.size)
            except _MALFORMED as error:
                raise DataError(
                    f"{printable(self._index)}: annotation {instance.number}, frame {frame} of "
                    f"{printable(video.name)}: {error}.",
                    "Fetch the file again.",
                ) from error
            masks.append((instance.label != 255, -int(mask.sum()), instance.label, mask))
        labels = np.zeros(video.size, np.uint8)
        for *_, label, mask in sorted(masks, key=lambda entry: entry[:3]):
            labels[mask] = label
        return labels


def _index_of(part: Path) -> Path:
    """The JSON file of `train` or `valid`."""
    file = f"{part.name}.json"
    candidates = [part / "instances.json", part / file, part.parent / file]
    return next((each for each in candidates if each.is_file()), candidates[0])


def _read(path: Path, split: SplitName) -> tuple[list[_Video], bool]:
    """The videos of a split, in the file's order, and whether they have masks."""
    with access_errors(path):
        content = path.read_bytes()
    try:
        index = json.loads(content)
        records: list[dict[str, Any]] = index["videos"]
        of_video: dict[int, list[dict[str, Any]]] = {record["id"]: [] for record in records}
        if len(of_video) < len(records):
            raise ValueError("two videos have one id")
        annotations: list[dict[str, Any]] = index.get("annotations") or []
        for annotation in annotations:
            if annotation["video_id"] not in of_video:
                raise ValueError(f"annotation {annotation['id']} is of no video")
            of_video[annotation["video_id"]].append(annotation)
        videos = [_video(record, of_video[record["id"]]) for record in records]
        if len({video.name for video in videos}) < len(videos):
            raise ValueError("two videos share a folder")
    except _MALFORMED as error:
        raise DataError(
            f"{printable(path)} is no index of YouTube-VIS: {printable(str(error))}.",
            "Fetch the file again.",
        ) from error
    training = len(videos) - min(_HELD_OUT, len(videos) // 2)
    chosen = {"train": videos[:training], "validation": videos[training:], "test": videos}
    return chosen[split], bool(annotations)


def _video(record: Mapping[str, Any], annotations: list[dict[str, Any]]) -> _Video:
    files = [PurePosixPath(file) for file in record["file_names"]]
    folders = {str(file.parent) for file in files}
    # Paths are made of these, so they are checked.
    if len(folders) != 1 or any(len(f.parts) != 2 or {"/", ".."} & set(f.parts) for f in files):
        raise ValueError(f"video {record['id']} has frames outside of a folder of its own")
    instances = []
    things = 0
    for annotation in sorted(annotations, key=lambda annotation: annotation["id"]):
        segmentations = annotation["segmentations"]
        if len(segmentations) != len(files):
            raise ValueError(
                f"annotation {annotation['id']} has {len(segmentations)} masks for {len(files)} "
                "frames"
            )
        crowd = bool(annotation.get("iscrowd"))
        things += not crowd
        instances.append(_Instance(annotation["id"], 255 if crowd else things, segmentations))
    if things > 254:
        raise ValueError(f"video {record['id']} has {things} instances, and 254 is the limit")
    size = int(record["height"]), int(record["width"])
    names = tuple(file.name for file in files)
    return _Video(folders.pop(), size, names, tuple(instances))
