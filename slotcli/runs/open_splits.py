"""The splits of the data in a folder, each opened or with the reason why it cannot be."""

from dataclasses import dataclass
from pathlib import Path

from slotcli.data.datasets import Dataset
from slotcli.data.recognise import PUBLIC_KINDS, DataKind
from slotcli.data.splits import SPLIT_NAMES, NoSplitError, no_split
from slotcli.errors import SlotcliError
from slotcli.evaluation.sources import open_folder
from slotcli.spec import SplitName

WITHOUT_SPLITS: SplitName = "train"  # what data that has no splits passes for


@dataclass(frozen=True)
class OpenedSplit:
    """A split at its own size; `error` in place of `dataset` where it cannot be read at all."""

    name: SplitName
    kind: DataKind
    dataset: Dataset | None
    error: SlotcliError | None = None


def open_splits(folder: Path, kind: DataKind, split: SplitName | None) -> list[OpenedSplit]:
    """The split that is asked for, or every one that is there.

    Raises what opening raises for a split that is asked for, NoSplitError where there is none.
    """
    if split is not None or kind not in PUBLIC_KINDS:
        name = split or WITHOUT_SPLITS
        return [OpenedSplit(name, kind, open_folder(folder, kind, name, None))]
    opened: list[OpenedSplit] = []
    for name in SPLIT_NAMES:
        try:
            opened.append(OpenedSplit(name, kind, open_folder(folder, kind, name, None)))
        except NoSplitError:
            continue
        except SlotcliError as error:
            opened.append(OpenedSplit(name, kind, None, error))
    if not opened:
        raise no_split(folder, WITHOUT_SPLITS)
    return opened
