"""DAVIS-2017: videos as folders of JPEG files, masks as palette PNG files of the same names."""

import os
from pathlib import Path

from slotcli.data.dataset import Dataset
from slotcli.data.formats.pictures import as_clip, read_labels, read_picture, resized_labels
from slotcli.data.formats.splits import NoSplitError
from slotcli.errors import DataError, NoInputError, printable
from slotcli.files.reading import access_errors
from slotcli.spec import SplitName
from slotcli.types import Clip, Size
from slotcli.video.pixels import resized

_PICTURES = "JPEGImages"
# In order of preference: papers score at 480p, and models see less than that.
_RESOLUTIONS = ("480p", "1080p", "Full-Resolution")
# Masks of all objects are preferred to those of the objects that annotators chose to track.
_MASKS = ("Annotations_unsupervised", "Annotations")
_LISTS = {
    "train": ("2017/train.txt",),
    "validation": ("2017/val.txt",),
    "test": ("2017/test-dev.txt", "2019/test-dev.txt"),
}


class Davis(Dataset):
    """A split's sequences, squeezed to the size: area averages, masks to the nearest.

    Of several resolutions 480p is used, else 1080p or Full-Resolution.

    Validation is DAVIS's val, test its test-dev, whose masks are not public: it has no labels. The
    masks are the unsupervised challenge's if present, else the semi-supervised one's. 255 in them
    is ignored. `folder` is `DAVIS` or holds it. Raises NoInputError naming a missing frame or mask.
    """

    def __init__(self, folder: Path, split: SplitName, size: Size | None) -> None:
        self.size = size
        self.labelled = split != "test"
        found = find_davis(folder)
        if found is None:
            raise NoInputError(
                f"{printable(folder)} holds no DAVIS: there is no folder {_PICTURES}/480p or "
                f"{_PICTURES}/Full-Resolution in it.",
                "Give the folder that has JPEGImages and ImageSets in it.",
            )
        root, resolution = found
        self._pictures = root / _PICTURES / resolution
        masks = [root / name / resolution for name in _MASKS]
        self._masks = next((folder for folder in masks if folder.is_dir()), masks[0])
        self._sequences = _sequences(root, split)
        self._frames = [self._numbers(sequence) for sequence in self._sequences]

    def __len__(self) -> int:
        return len(self._sequences)

    def name(self, index: int) -> str:
        return self._sequences[index]

    def frames(self, index: int) -> int:
        return len(self._frames[index])

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        sequence, numbers = self._sequences[index], self._frames[index]
        paths = [
            self._pictures / sequence / f"{numbers[start + step * stride]:05d}.jpg"
            for step in range(length)
        ]
        pictures, labels = [], []
        for path in paths:
            picture = read_picture(path)
            if self.labelled:
                mask = self._masks / sequence / f"{path.stem}.png"
                ids = read_labels(mask, picture.shape[:2])
                labels.append(ids if self.size is None else resized_labels(ids, self.size))
            pictures.append(picture if self.size is None else resized(picture, self.size))
        return as_clip(paths, pictures, labels if self.labelled else None)

    def _numbers(self, sequence: str) -> range:
        """Numbers of a sequence's frames; both they and their masks are without gaps."""
        pictures = _numbers_in(self._pictures / sequence, ".jpg")
        masks = _numbers_in(self._masks / sequence, ".png") if self.labelled else pictures
        if not pictures:
            raise NoInputError(
                f"{printable(self._pictures / sequence)} has no frames.", "Unpack DAVIS again."
            )
        every = range(min(pictures | masks), max(pictures | masks) + 1)
        for number in every:
            for found, folder, suffix in (
                (pictures, self._pictures, "jpg"),
                (masks, self._masks, "png"),
            ):
                if number not in found:
                    path = folder / sequence / f"{number:05d}.{suffix}"
                    raise NoInputError(
                        f"{printable(path)} is missing.",
                        "Unpack DAVIS again; no frame is left out.",
                    )
        return every


def find_davis(folder: Path) -> tuple[Path, str] | None:
    """The folder of DAVIS that is, or is in, a folder, and the resolution to read there."""
    for root in (folder, folder / "DAVIS"):
        for resolution in _RESOLUTIONS:
            if (root / _PICTURES / resolution).is_dir():
                return root, resolution
    return None


def _sequences(root: Path, split: SplitName) -> list[str]:
    candidates = [root / "ImageSets" / name for name in _LISTS[split]]
    path = next((each for each in candidates if each.is_file()), candidates[0])
    if not (root / "ImageSets").is_dir():
        raise NoInputError(
            f"{printable(root)} has no folder ImageSets, whose files list each split's videos.",
            "Unpack the archive of DAVIS whole: train, val and test-dev are chosen by these lists.",
        )
    if not path.is_file():
        raise NoSplitError(f"{printable(path)} is missing.", "Choose a split that is there.")
    with access_errors(path):
        names = path.read_text(encoding="utf-8", errors="replace").split()
    for name in names:
        if Path(name).name != name:
            raise DataError(
                f"{printable(path)} lists {printable(name)}, which is no name of a sequence.",
                "Fetch the file again.",
            )
    if not names:
        raise NoInputError(f"{printable(path)} lists no sequences.", "Fetch the file again.")
    return names


def _numbers_in(folder: Path, suffix: str) -> set[int]:
    with access_errors(folder):
        names = os.listdir(folder)
    stems = [name.removesuffix(suffix) for name in names if name.endswith(suffix)]
    return {int(stem) for stem in stems if len(stem) == 5 and stem.isdecimal()}
