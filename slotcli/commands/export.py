"""slotcli export: masks from a slot file, without a model."""

from pathlib import Path
from typing import Annotated

import typer

from slotcli.commands import console
from slotcli.commands.options import MaskFile, Masks
from slotcli.errors import UsageError


def export(
    slots: Annotated[Path, typer.Argument(help="A slot file, or a result folder of decompose.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the mask files.")],
    masks: Masks = None,
    video: Annotated[
        Path | None, typer.Option(help="The source of the slots, for --masks alpha.")
    ] = None,
) -> None:
    """Write the masks of a slot file: the same pixels that decompose wrote."""
    console.phase("reading the slots")
    from slotcli.runs.export import export_masks
    from slotcli.runs.reconstruct import find_slot_file
    from slotcli.tracks.formats.all_formats import OF_PICTURES, PLACES, MaskFormat
    from slotcli.tracks.slot_file import read_slot_file

    formats: tuple[MaskFormat, ...] = tuple(
        name.value for name in masks or [MaskFile.png] if name != MaskFile.none
    )
    if not formats:
        raise UsageError("--masks none leaves nothing to export.", "Choose a kind of mask file.")
    if video is not None and not OF_PICTURES.intersection(formats):
        raise UsageError("--video is for --masks alpha alone.", "Add that, or leave it out.")
    slot_file = read_slot_file(find_slot_file(slots))
    with console.progress("writing masks", "frames") as meter:
        export_masks(slot_file, out, formats, video, meter.update)
    if console.wants_json():
        console.record({"out": str(out), "masks": list(formats), "frames": len(slot_file.pts)})
    else:
        console.result(f"{out}: masks of {len(slot_file.pts)} frames")
    places = ", ".join(str(out / PLACES[name]) for name in dict.fromkeys(formats))
    console.note(f"Open {places}")
