"""One result edited: checked, changed and written, for Python and the command line."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slotcli.checkpoint import file_sha256
from slotcli.editing.apply import edited
from slotcli.editing.doubts import mask_doubts, verdict_doubt
from slotcli.editing.steps import Step, parsed_steps, touched_ids
from slotcli.errors import CannotCreateError, ClipWarning, UsageError, printable
from slotcli.files.writing import output_errors
from slotcli.results.reconstruct import find_slot_file, masks_place_objects
from slotcli.results.result import Result, load
from slotcli.tracks.slot_file import SlotFile, read_slot_file, write_slot_file

EDITED = "edited.slots.safetensors"


@dataclass(frozen=True)
class Edit:
    """The slots after an edit, the file that they are for, and what to distrust in them."""

    slots: SlotFile
    target: Path
    doubts: list[str]

    def write(self) -> None:
        """Raises OutputError and its kin."""
        write_slot_file(self.target, self.slots)


def edit_slots(path: Path, steps: Sequence[Step], out: Path | None, *, overwrite: bool) -> Edit:
    """Applies steps to a result; nothing is written yet.

    `out` is the slot file to write, by default EDITED beside the slots. Raises CannotCreateError
    where it exists or is the file to edit, UsageError for an object that is not there.
    """
    slots = find_slot_file(path)
    slot_file = read_slot_file(slots)
    target = out or slots.with_name(EDITED)
    with output_errors(target):
        taken = target.exists()
        same = taken and target.samefile(slots)
    if same:
        raise CannotCreateError(
            f"{printable(target)}: is the file to edit.", "Name another with --out."
        )
    if taken and not overwrite:
        raise CannotCreateError(
            f"{printable(target)}: exists already.", "Use --overwrite, or another --out."
        )
    changed = edited(slot_file, steps, file_sha256(slots))
    doubts = [doubt for doubt in [verdict_doubt(slots)] if doubt]
    doubts += [doubt for own in touched_ids(steps) for doubt in mask_doubts(slot_file, own)]
    if changed.metadata["history"]["moves"] and not masks_place_objects(changed):
        doubts.append(
            f"{changed.metadata['model'].get('name')} renders objects where their slots say: "
            "reconstruct shows this edit with --composite only."
        )
    return Edit(changed, target, doubts)


def edit(
    result: Result | str | Path,
    *,
    keep: Collection[int] = (),
    swap: Mapping[int, tuple[str | Path, int]] | None = None,
    hold: Mapping[int, int | None] | None = None,
    reverse: Collection[int] | Literal["all"] = (),
    scale: Mapping[int, float | int] | None = None,
    move: Mapping[int, tuple[float | int, float | int]] | None = None,
    copy: Mapping[int, tuple[float | int, float | int]] | None = None,
    drop: Collection[int] = (),
    out: str | Path | None = None,
    overwrite: bool = False,
) -> Result:
    """A result with objects changed, as `slotcli edit` does, in a slot file of its own.

    Keys and IDs are those of objects. `move` and `copy` are pixels of the source, right and down;
    `scale` is a factor; `hold` a frame's index in the clip, None for the first; `swap` a result and
    an ID in it. They apply in the order listed here. `out` is the slot file, by default
    `edited.slots.safetensors` beside the slots. What to distrust is issued as ClipWarning. Raises
    UsageError without an edit or for an unknown ID, CannotCreateError where the file exists,
    DataError where the slots are damaged.
    """
    steps = parsed_steps(
        {
            "keep": _listed(keep),
            "swap": [f"{own}={other}:{theirs}" for own, (other, theirs) in (swap or {}).items()],
            "hold": [f"{k}" if at is None else f"{k}={at}" for k, at in (hold or {}).items()],
            "reverse": [reverse] if isinstance(reverse, str) else _listed(reverse),
            "scale": [f"{own}={factor}" for own, factor in (scale or {}).items()],
            "move": [f"{own}={dx},{dy}" for own, (dx, dy) in (move or {}).items()],
            "copy": [f"{own}={dx},{dy}" for own, (dx, dy) in (copy or {}).items()],
            "drop": _listed(drop),
        }
    )
    if not steps:
        raise UsageError("No edit is named.", "Add one, as drop=[3].")
    path = result.path if isinstance(result, Result) else Path(result)
    made = edit_slots(path, steps, None if out is None else Path(out), overwrite=overwrite)
    made.write()
    for doubt in made.doubts:
        warnings.warn(doubt, ClipWarning, stacklevel=2)
    return load(made.target)


def _listed(ids: Collection[int]) -> list[str]:
    return [",".join(map(str, ids))] if ids else []
