"""CLEVRTex: numbered scenes, each an image and a map of its objects (Karazija et al., 2021)."""

import os
import re
from pathlib import Path
from typing import NoReturn

from slotcli.data.dataset import Dataset
from slotcli.data.formats.pictures import (
    as_clip,
    read_labels,
    read_picture,
    resized_bilinear,
    resized_labels,
)
from slotcli.data.formats.splits import NoSplitError
from slotcli.errors import DataError, NoInputError, printable
from slotcli.files.reading import access_errors
from slotcli.spec import SplitName
from slotcli.types import Clip, Size

# The number of published scenes of each variant; its splits are fractions of it.
_SCENES = {
    "full": 50_000,
    "camo": 20_000,
    "grassbg": 20_000,
    "pbg": 20_000,
    "vbg": 20_000,
    "outd": 10_000,
}
_NAME = re.compile(rf"CLEVRTEX_({'|'.join(_SCENES)})_([0-9]{{6}})(_flat)?\.png")

# The palette of the masks, for copies of them that were saved as RGB.
_COLOURS = (
    0x000000,
    0xFF0000,
    0x008000,
    0x0000FF,
    0xFFFF00,
    0x8DD3C7,
    0xFFFFB3,
    0xBEBADA,
    0xFB8072,
    0x80B1D3,
    0xFDB462,
    0xB3DE69,
    0xFCCDE5,
    0xD9D9D9,
)


class Clevrtex(Dataset):
    """One variant's scenes as clips of one frame, in the order of their numbers.

    The first tenth of the published scenes is for testing, the second for validation, the rest for
    training; of `outd` all are for testing. With a size, the middle 192x192 of 320x240 (four fifths
    of the shorter side) are resized, images bilinearly as in the paper, masks to the nearest;
    without one, the whole image is used. `folder` holds `0`, `1`, ... or one `clevrtex_*` folder
    with them. A split may end early but has no gaps: raises NoInputError naming a missing file.
    """

    labelled = True

    def __init__(self, folder: Path, split: SplitName, size: Size | None) -> None:
        self.size = size
        self._variant, pictures, masks = _scan(folder)
        numbers = _numbers(self._variant, split)
        last = max((number for number in pictures | masks if number in numbers), default=None)
        if last is None:
            raise NoSplitError(
                f"{printable(folder)}: CLEVRTex {self._variant} has no scenes for {split} here.",
                f"Those are numbers {numbers.start} to {numbers.stop - 1}."
                if numbers
                else "All of this variant is for testing.",
            )
        self._scenes = range(numbers.start, last + 1)
        self._folders = pictures
        for number in self._scenes:
            for suffix, found in (("", pictures), ("_flat", masks)):
                if number not in found:
                    raise self._missing(number, suffix, pictures | masks)

    def __len__(self) -> int:
        return len(self._scenes)

    def name(self, index: int) -> str:
        return f"CLEVRTEX_{self._variant}_{self._scenes[index]:06d}"

    def frames(self, index: int) -> int:
        return 1

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        assert (start, length) == (0, 1), "a picture is a clip of one frame"
        number = self._scenes[index]
        path = Path(self._folders[number], self._file(number))
        mask = path.with_name(self._file(number, "_flat"))
        picture = read_picture(path)
        labels = read_labels(mask, picture.shape[:2], _COLOURS)
        if labels.max() > 254:
            raise DataError(
                f"{printable(mask)} has an object of id 255, and 254 is the highest.",
                "Fetch the file again.",
            )
        if self.size is not None:
            height, width = labels.shape
            side = min(height, width) * 4 // 5
            top, left = (height - side) // 2, (width - side) // 2
            middle = slice(top, top + side), slice(left, left + side)
            picture = resized_bilinear(picture[middle], self.size)
            labels = resized_labels(labels[middle], self.size)
        return as_clip([path], [picture], [labels])

    def _missing(self, number: int, suffix: str, folders: dict[int, str]) -> NoInputError:
        # Its expected path: beside its other file, else in the folder of its thousand.
        thousand = Path(next(iter(folders.values()))).parent / str(number // 1000)
        path = Path(folders.get(number, thousand), self._file(number, suffix))
        return NoInputError(
            f"{printable(path)} is missing.",
            "Fetch the part of CLEVRTex again that it is in; no scene is left out.",
        )

    def _file(self, number: int, suffix: str = "") -> str:
        return f"CLEVRTEX_{self._variant}_{number:06d}{suffix}.png"


def _numbers(variant: str, split: SplitName) -> range:
    scenes = _SCENES[variant]
    if variant == "outd":
        return range(scenes) if split == "test" else range(0)
    tenth = scenes // 10
    return {
        "test": range(tenth),
        "validation": range(tenth, 2 * tenth),
        "train": range(2 * tenth, scenes),
    }[split]


def _scan(folder: Path) -> tuple[str, dict[int, str], dict[int, str]]:
    """The variant under a folder, and by scene the folders of its image and of its mask."""
    if not folder.is_dir():
        raise NoInputError(f"{printable(folder)}: there is no such folder.", "Check the path.")
    pictures: dict[int, str] = {}
    masks: dict[int, str] = {}
    variant = None
    with access_errors(folder):
        for parent, _, files in os.walk(folder, onerror=_stop, followlinks=True):
            for file in files:
                match = _NAME.fullmatch(file)
                if match is None:
                    continue
                if match[1] != (variant := variant or match[1]):
                    raise NoInputError(
                        f"{printable(folder)} holds CLEVRTex {variant} and {match[1]}.",
                        f"Give the folder of one of them, such as clevrtex_{variant}.",
                    )
                found = masks if match[3] else pictures
                first = found.setdefault(int(match[2]), parent)
                if first != parent:
                    raise DataError(
                        f"{file} stands in {printable(first)} and in {printable(parent)}.",
                        "Keep the one that belongs there.",
                    )
    if variant is None:
        raise NoInputError(
            f"{printable(folder)} holds no scenes of CLEVRTex.",
            "They are called CLEVRTEX_full_000000.png and so on.",
        )
    return variant, pictures, masks


def _stop(error: OSError) -> NoReturn:
    raise error
