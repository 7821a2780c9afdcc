"""slotcli export: masks from a slot file, without a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from slotcli.commands import console
from slotcli.commands.options import INPUT, MASK_FILES, OUTPUT, Edges, Masks, chosen
from slotcli.errors import UsageError

if TYPE_CHECKING:
    from slotcli.tracks.formats.all_formats import MaskFormat


def export(
    slots: Annotated[
        Path, typer.Argument(metavar="RESULT", help="A result folder of decompose, or a slot file.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the mask files.",
            metavar="FOLDER",
            rich_help_panel=OUTPUT,
        ),
    ],
    masks: Masks = None,
    video: Annotated[
        Path | None,
        typer.Option(
            help="The source clip, for --masks alpha, and where guided edges need it elsewhere.",
            metavar="FILE",
            rich_help_panel=INPUT,
        ),
    ] = None,
    edges: Edges = None,
) -> None:
    """Write the masks of a result in other formats, without a model.

    The pixels are those that decompose wrote; where they follow the clip's edges, it is read again.

    Examples:
      slotcli export slotcli-out/tier-a.mp4 -o masks --masks coco,mots
      slotcli export slotcli-out/tier-a.mp4 -o cut --masks alpha --video samples/tier-a.mp4
    """
    console.phase("reading the slots")
    from slotcli.results.export import export_masks
    from slotcli.results.find import recorded_source
    from slotcli.results.reconstruct import find_slot_file, recorded_labelling
    from slotcli.tracks.formats.all_formats import OF_PICTURES, PLACES
    from slotcli.tracks.slot_file import read_slot_file

    wanted = chosen("--masks", masks, MASK_FILES) or ["png"]
    formats = cast("tuple[MaskFormat, ...]", tuple(name for name in wanted if name != "none"))
    if not formats:
        raise UsageError("--masks none leaves nothing to export.", "Choose a mask format.")
    path = find_slot_file(slots)
    slot_file = read_slot_file(path)
    needs_frames = recorded_labelling(slot_file, edges).needs_frames
    if video is not None and not (needs_frames or OF_PICTURES.intersection(formats)):
        raise UsageError(
            "--video is for --masks alpha and for guided edges only.", "Add one, or leave it out."
        )
    if needs_frames and video is None:
        recorded = recorded_source(path)
        video = recorded if recorded is not None and recorded.exists() else None
    with console.progress("writing masks", "frames") as meter:
        export_masks(slot_file, out, formats, video, meter.update, edges=edges)
    if console.wants_json():
        console.record({"out": str(out), "masks": list(formats), "frames": len(slot_file.pts)})
    else:
        console.result(f"{out}: masks of {len(slot_file.pts)} frames")
    places = ", ".join(str(out / PLACES[name]) for name in dict.fromkeys(formats))
    console.note(f"Open {places}")
