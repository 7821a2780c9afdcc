"""The splits of published data sets, by their names in each."""

from pathlib import Path

from slotcli.errors import NoInputError, printable
from slotcli.spec import SplitName

# The names of a split's folder or file.
SPLIT_NAMES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}


class NoSplitError(NoInputError):
    """A data set without the split, as many are published."""


def no_split(folder: Path, split: SplitName) -> NoSplitError:
    """The error for a folder that has nothing of a split."""
    return NoSplitError(
        f"{printable(folder)} has nothing of the split {split}.",
        "Choose a split that is there, or fetch its files.",
    )
