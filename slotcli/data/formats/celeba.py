"""CelebA: aligned faces in one folder, with a text file that lists the split of each."""

import os
from pathlib import Path

from slotcli.data.dataset import Dataset
from slotcli.data.formats.pictures import as_clip, read_picture, resized_bilinear
from slotcli.data.formats.splits import NoSplitError
from slotcli.errors import DataError, NoInputError, printable
from slotcli.files.reading import access_errors
from slotcli.spec import SplitName
from slotcli.types import Clip, Size

PICTURES = "img_align_celeba"
PARTITION = "list_eval_partition.txt"
_SPLITS = {"0": "train", "1": "validation", "2": "test"}


class Celeba(Dataset):
    """A split's faces as clips of one frame, in the order of the partition file; no labels.

    Images of 178x218 are squeezed to the size, bilinearly as in the paper. `folder` is
    torchvision's root, `celeba` in it, or `img_align_celeba` in that. Raises NoInputError naming an
    image of the partition that the folder lacks, DataError for a partition that cannot be read.
    """

    labelled = False

    def __init__(self, folder: Path, split: SplitName, size: Size | None) -> None:
        self.size = size
        self._folder = _pictures_under(folder)
        partition = self._folder.parent / PARTITION
        self._files = _files_of(split, partition)
        if not self._files:
            raise NoSplitError(f"{printable(partition)} has no pictures for {split}.", "Check it.")
        with access_errors(self._folder):
            present = set(os.listdir(self._folder))
        missing = [file for file in self._files if file not in present]
        if missing:
            others = f", nor are {len(missing) - 1} others" if len(missing) > 1 else ""
            raise NoInputError(
                f"{printable(self._folder / missing[0])} is not there{others}.",
                "Unpack img_align_celeba.zip again; no picture is left out.",
            )

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        return Path(self._files[index]).stem

    def frames(self, index: int) -> int:
        return 1

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        assert (start, length) == (0, 1), "a picture is a clip of one frame"
        path = self._folder / self._files[index]
        picture = read_picture(path)
        if self.size is not None:
            picture = resized_bilinear(picture, self.size)
        return as_clip([path], [picture], None)


def _pictures_under(folder: Path) -> Path:
    paths = [folder / "celeba" / PICTURES, folder / PICTURES]
    if folder.name == PICTURES:
        paths.append(folder)
    for path in paths:
        if path.is_dir():
            return path
    raise NoInputError(
        f"{printable(folder)} holds no CelebA: there is no folder {printable(paths[0])}.",
        f"Give the folder that has {PICTURES} and {PARTITION} in it.",
    )


def _files_of(split: SplitName, partition: Path) -> list[str]:
    with access_errors(partition):
        text = partition.read_text(encoding="utf-8", errors="replace")
    files = []
    for number, line in enumerate(text.splitlines(), 1):
        match line.split():
            case []:
                continue
            case [file, code] if code in _SPLITS and "/" not in file:
                if _SPLITS[code] == split:
                    files.append(file)
            case _:
                raise DataError(
                    f"{printable(partition)}, line {number}: {printable(line)!r} is not a picture "
                    "and 0, 1 or 2.",
                    "Fetch the file again.",
                )
    return files
