"""The splits of published data sets, by whatever name they go there."""

from pathlib import Path

from slotcli.errors import NoInputError, printable
from slotcli.spec import SplitName

# What the folder or the file of a split is called.
SPLIT_NAMES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}


class NoSplitError(NoInputError):
    """A data set that is there without this split, as many are published without one."""


def no_split(folder: Path, split: SplitName) -> NoSplitError:
    """The error of a folder in which nothing is of a split."""
    return NoSplitError(
        f"{printable(folder)} has nothing of the split {split}.",
        "Choose a split that is there, or fetch its files.",
    )
