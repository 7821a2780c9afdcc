"""Settings that differ between a run's last start and the definition that it resumes with."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotcli.checkpoint import DEFINITION
from slotcli.definition import load_definition, spec_json
from slotcli.errors import UsageError, printable
from slotcli.spec import CodecModelSpec, SlotModelSpec


@dataclass(frozen=True)
class Change:
    """A key of the definition, with its value at the last start and its value now."""

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key} was {json.dumps(self.before)}, is now {json.dumps(self.now)}"


def changed_settings(folder: Path, spec: SlotModelSpec | CodecModelSpec) -> list[Change]:
    """The settings that differ from the model.toml that the run in `folder` was last started with.

    Paths to the same file or folder are equal. Raises ConfigError or NoInputError where that
    model.toml cannot be read.
    """
    before = dict(_flat(spec_json(load_definition(folder / DEFINITION))))
    now = dict(_flat(spec_json(spec)))
    keys = [*now, *(key for key in before if key not in now)]
    changes = [Change(key, before.get(key), now.get(key)) for key in keys]
    return [own for own in changes if own.before != own.now and not _same_place(own)]


def require_same_model(folder: Path, changes: list[Change]) -> None:
    """Raises UsageError where a key of the model changed, not only of its training or its name.

    The weights might still load, and would then be trained as those of another model.
    """
    others = [own for own in changes if own.key != "name" and not own.key.startswith("train.")]
    if others:
        raise UsageError(
            f"{printable(folder)}: holds a run of another model: {'; '.join(map(str, others))}.",
            "Give another --out, or the definition that the run began with.",
        )


def _flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield above + key, value


def _same_place(change: Change) -> bool:
    if change.key not in ("train.codec", "train.data.path"):
        return False
    paths = (change.before, change.now)
    if not all(isinstance(path, str) for path in paths):
        return False
    one, other = (Path(path).resolve() for path in paths)
    # A model's name means a folder of that name.
    return one == other or (change.key == "train.codec" and one.name == other.name)
