"""MOVi as folders of frames: the authors' layout, which `data convert` writes too, and STEVE's.

    SPLIT/00000000/000000.jpg, 000000_mask.png               an image of ids per frame, or none
    SPLIT/00000000/00000000_image.png, 00000000_mask_00.png  a binary image per object, or none
    00000000/00000000_image.png                              splits are 70, 15, 15 % of the folders

Images may be PNG or JPEG in either.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from slotcli.data.conversion import MANIFEST, ConvertedClip, clip_folder, read_conversion
from slotcli.data.formats.file_index import FileIndex
from slotcli.data.formats.movi.layout import StoredFrame
from slotcli.data.formats.pictures import read_labels, read_picture
from slotcli.data.formats.splits import SPLIT_NAMES, no_split
from slotcli.errors import DataError, NoInputError, printable
from slotcli.files.reading import access_errors
from slotcli.spec import SplitName

PICTURE = re.compile(r"(\d+)(_image)?\.(jpg|jpeg|png)")
IDS = re.compile(r"(\d+)_mask\.png")
OBJECT = re.compile(r"(\d+)_mask_(\d+)\.png")

# Where the folder itself has no splits. Source: STEVE's loader (data.py).
_FRACTIONS: dict[SplitName, tuple[float, float]] = {
    "train": (0, 0.7),
    "validation": (0.7, 0.85),
    "test": (0.85, 1),
}


@dataclass
class _Listing:
    """The files of a clip's folder, by frame number."""

    pictures: dict[int, str] = field(default_factory=dict)
    ids: dict[int, str] = field(default_factory=dict)
    objects: dict[int, dict[int, str]] = field(default_factory=dict)

    @property
    def labelled(self) -> bool:
        return bool(self.ids or self.objects)


class FrameFolders:
    """The folders of a split in the order of their names, or of the record of a conversion.

    Frames are numbered from 0 without a gap; where the first clip has masks, every frame has.
    """

    def __init__(self, folder: Path, split: SplitName) -> None:
        self.remarks: list[str] = []
        place, folders = _clip_folders(folder, split)
        conversion = read_conversion(place)
        self._converted: list[ConvertedClip] | None = None
        if conversion is not None:
            kept = [(n, clip) for n, clip in enumerate(conversion.clips) if clip.broken is None]
            self._converted = [clip for _, clip in kept]
            present = {path.name for path in folders}
            folders = [place / clip_folder(number) for number, _ in kept]
            self._refuse_unfinished(place, [path for path in folders if path.name not in present])
            broken = len(conversion.clips) - len(kept)
            if broken:
                self.remarks.append(
                    f"{broken} clips were broken in the source and are not in {printable(place)}."
                )
        if not folders:
            raise no_split(folder, split)
        self._folders = folders
        self.labelled = _list(folders[0]).labelled

    def __len__(self) -> int:
        return len(self._folders)

    def name(self, index: int) -> str:
        if self._converted is not None:
            return self._converted[index].name
        return printable(self._folders[index].name)

    def video_name(self, index: int) -> str | None:
        return None if self._converted is None else self._converted[index].video_name

    def frames(self, index: int) -> int:
        return len(self._checked(index).pictures)

    def read(self, index: int, times: Sequence[int]) -> list[StoredFrame]:
        folder, files = self._folders[index], self._checked(index)
        found: list[StoredFrame] = []
        for time in times:
            picture = read_picture(folder / files.pictures[time])
            labels = None
            if time in files.ids:
                labels = read_labels(folder / files.ids[time])
            elif time in files.objects:
                paths = [folder / files.objects[time][k] for k in sorted(files.objects[time])]
                labels = _joined_objects(paths)
            found.append(StoredFrame(picture, labels, printable(folder / files.pictures[time])))
        return found

    def verify(self, index: int) -> None:
        """Does nothing: image files are checked in decoding."""

    def complete_index(self) -> FileIndex | None:
        return None

    def _refuse_unfinished(self, place: Path, absent: list[Path]) -> None:
        if absent:
            raise DataError(
                f"{printable(absent[0])} is missing, as are {len(absent) - 1} other clips of "
                f"{printable(place / MANIFEST)}.",
                "Run the same slotcli data convert again: it goes on where it ended.",
            )

    def _checked(self, index: int) -> _Listing:
        """The files of a clip, checked for gaps."""
        folder = self._folders[index]
        files = _list(folder)
        total = 1 + max((*files.pictures, *files.ids, *files.objects), default=-1)
        if self._converted is not None:
            total = max(total, self._converted[index].frames or 0)
        if not total:
            raise NoInputError(f"{printable(folder)} has no frames in it.", "Check the folder.")
        example = next(iter(files.pictures.values()), "000000.png")
        _refuse_gap(folder, files.pictures, total, example)
        if not self.labelled:
            if files.labelled:
                raise DataError(
                    f"{printable(folder)} has masks, but {printable(self._folders[0])} has none.",
                    "Give every clip masks, or none.",
                )
            return files
        if files.objects:
            _refuse_missing_objects(folder, files.objects, total)
        else:
            stem = re.match(r"\d+", example)
            _refuse_gap(folder, files.ids, total, f"{stem[0] if stem else '000000'}_mask.png")
        return files


def holds_frames(folder: Path) -> bool:
    """Whether the first clip of a split is a folder of numbered images.

    Without splits, images have to be named as STEVE names them: other data also has numbered
    images.
    """
    every = [folder / name for names in SPLIT_NAMES.values() for name in names]
    with access_errors(folder):
        if splits := [path for path in every if path.is_dir()]:
            return any(PICTURE.fullmatch(name) for place in splits for name in _first_files(place))
        names = [PICTURE.fullmatch(name) for name in _first_files(folder)]
    return any(match is not None and match[2] is not None for match in names)


def _first_files(place: Path) -> list[str]:
    return [path.name for folder in _subfolders(place)[:1] for path in folder.iterdir()]


def _clip_folders(folder: Path, split: SplitName) -> tuple[Path, list[Path]]:
    """The root folder of a split's clips, and their folders."""
    with access_errors(folder):
        for name in SPLIT_NAMES[split]:
            if (folder / name).is_dir():
                return folder / name, _subfolders(folder / name)
        every = _subfolders(folder)
    if any((folder / name).is_dir() for names in SPLIT_NAMES.values() for name in names):
        raise no_split(folder, split)
    low, high = (int(len(every) * fraction) for fraction in _FRACTIONS[split])
    return folder, every[low:high]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name[0] != "." and path.is_dir())


def _list(folder: Path) -> _Listing:
    files = _Listing()
    with access_errors(folder):
        names = sorted(path.name for path in folder.iterdir())
    for name in names:
        if match := PICTURE.fullmatch(name):
            if int(match[1]) in files.pictures:
                raise DataError(
                    f"{printable(folder / name)} and {files.pictures[int(match[1])]} are both "
                    f"frame {int(match[1])}.",
                    "Remove one of them.",
                )
            files.pictures[int(match[1])] = name
        elif match := IDS.fullmatch(name):
            files.ids[int(match[1])] = name
        elif match := OBJECT.fullmatch(name):
            files.objects.setdefault(int(match[1]), {})[int(match[2])] = name
    return files


def _refuse_gap(folder: Path, files: dict[int, str], total: int, example: str) -> None:
    """Raises NoInputError naming the first of `total` numbers that has no file."""
    for number in range(total):
        if number not in files:
            name = re.sub(r"^\d+", lambda digits, n=number: f"{n:0{len(digits[0])}d}", example)
            raise NoInputError(
                f"{printable(folder / name)} is missing.", "Fetch it; frames are not made up."
            )


def _refuse_missing_objects(folder: Path, objects: dict[int, dict[int, str]], total: int) -> None:
    """Raises NoInputError where a frame lacks the mask of an object that another frame has."""
    known = objects[min(objects)]
    example = known[min(known)]
    for k in range(1 + max(max(masks) for masks in objects.values())):
        layer = {time: masks[k] for time, masks in objects.items() if k in masks}
        name = re.sub(r"\d+(?=\.png$)", lambda digits, k=k: f"{k:0{len(digits[0])}d}", example)
        _refuse_gap(folder, layer, total, name)


def _joined_objects(paths: Sequence[Path]) -> UInt8[np.ndarray, "h w"]:
    """Ids from binary masks: 1 for the first, 0 where there is none; the earlier of two wins."""
    labels = None
    for number, path in reversed(list(enumerate(paths, start=1))):
        mask = read_labels(path) > 0
        if labels is None:
            labels = np.zeros(mask.shape, np.uint8)
        if labels.shape != mask.shape:
            raise DataError(f"{printable(path)} has another size.", "Fetch the file again.")
        labels[mask] = number
    assert labels is not None
    return labels
