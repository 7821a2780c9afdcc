"""slotcli edit: objects of a result dropped, moved, copied, swapped, held or reversed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcli.commands import console
from slotcli.commands.options import INPUT, OUTPUT, Overwrite
from slotcli.errors import UsageError

if TYPE_CHECKING:
    from slotcli.editing.steps import Kind

EDITS = "Edits"


def _option(text: str, metavar: str) -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel=EDITS)


def edit(
    slots: Annotated[
        Path,
        typer.Argument(
            metavar="RESULT", help="A result folder of decompose, a slot file, or an earlier edit."
        ),
    ],
    keep: Annotated[
        list[str] | None, _option("Drop all objects but these IDs, as 1 or 1,2.", "IDS")
    ] = None,
    swap: Annotated[
        list[str] | None,
        _option(
            "Give object K the look of object J of another result of the same model; it stays "
            "where it is.",
            "K=RESULT:J",
        ),
    ] = None,
    hold: Annotated[
        list[str] | None,
        _option("Freeze object K as it is in a frame; default: the first.", "K[=FRAME]"),
    ] = None,
    reverse: Annotated[
        list[str] | None, _option("Play these objects backwards, or all of the clip.", "IDS|all")
    ] = None,
    scale: Annotated[
        list[str] | None,
        _option("Scale object K about its centre; 0.5 is half as wide.", "K=FACTOR"),
    ] = None,
    move: Annotated[
        list[str] | None,
        _option("Move object K by pixels of the source, right and down.", "K=DX,DY"),
    ] = None,
    copy: Annotated[
        list[str] | None,
        _option("Add a copy of object K, moved; it gets the next free ID.", "K=DX,DY"),
    ] = None,
    drop: Annotated[
        list[str] | None, _option("Remove the objects with these IDs, as 1 or 1,2.", "IDS")
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file of edits, applied in its order and before the options: "
            'edits = [{move = "3=40,-10"}, {drop = "2"}].',
            metavar="FILE",
            rich_help_panel=INPUT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The slot file to write. Default: edited.slots.safetensors beside the slots.",
            metavar="FILE",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Overwrite = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check the edits and say what to distrust; write nothing.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
) -> None:
    """Change the objects of a result: a new slot file, which keeps the history of its edits.

    All options may be repeated. Whatever their order, they apply as listed: keep, swap, hold,
    reverse, scale, move, copy, drop. Render the edit with slotcli reconstruct, or the clip itself
    with reconstruct --composite.

    Examples:
      slotcli edit slotcli-out/tier-a.mp4 --drop 3
      slotcli edit slotcli-out/tier-a.mp4 --move 3=40,-10 --scale 3=1.5 -o moved.safetensors
      slotcli edit slotcli-out/tier-a.mp4 --swap 3=slotcli-out/tier-c.mp4:2 --dry-run
      slotcli reconstruct slotcli-out/tier-a.mp4/edited.slots.safetensors --composite
    """
    console.phase("reading the slots")
    from slotcli.editing.edit import edit_slots
    from slotcli.editing.steps import parsed_steps, read_script

    asked: dict[Kind, list[str] | None] = {
        "keep": keep,
        "swap": swap,
        "hold": hold,
        "reverse": reverse,
        "scale": scale,
        "move": move,
        "copy": copy,
        "drop": drop,
    }
    steps = [*(read_script(script) if script else []), *parsed_steps(asked)]
    if not steps:
        raise UsageError("No edit is named.", "Add one, as --drop 3; see slotcli edit -h.")
    made = edit_slots(slots, steps, out, overwrite=overwrite or dry_run)
    for doubt in made.doubts:
        console.warn(doubt)
    if not dry_run:
        made.write()
    target, history = made.target, made.slots.metadata["history"]
    done = None if dry_run else str(target)
    console.record({"slots": done, "history": history, "warnings": made.doubts})
    if console.wants_json():
        return
    for line in steps if dry_run else [f"{target}: {len(steps)} edits"]:
        console.result(str(line))
    if not dry_run:
        console.note(f"Render it: slotcli reconstruct {target} --composite")
