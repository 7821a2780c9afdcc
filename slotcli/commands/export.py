"""slotcli export: masks from a slot file, without a model."""

from pathlib import Path
from typing import Annotated

import typer

from slotcli.commands import console
from slotcli.commands.options import INPUT, MASK_FILES, OUTPUT, Edges, Frames, Masks, parse_choices
from slotcli.errors import UsageError


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
            help="The source clip, if it has moved since decompose; read for --frames, --masks "
            "alpha, and guided edges.",
            metavar="FILE",
            rich_help_panel=INPUT,
        ),
    ] = None,
    edges: Edges = None,
    frames: Frames = False,
) -> None:
    """Write the masks of a result in other formats, without a model.

    Masks equal those that decompose wrote; guided edges need the source clip again.

    Examples:
      slotcli export slotcli-out/tier-a.mp4 -o masks --masks coco,mots --frames
      slotcli export slotcli-out/tier-a.mp4 -o cut --masks alpha --video samples/tier-a.mp4
    """
    console.phase("reading the slots")
    from slotcli.results.reconstruct import recorded_labelling
    from slotcli.results.result import load
    from slotcli.tracks.formats.all_formats import OF_PICTURES, mask_formats

    names = parse_choices("--masks", masks, MASK_FILES) or ["png"]
    formats = mask_formats(names, frames=frames)
    result = load(slots, video)
    needs_frames = recorded_labelling(result.slot_file, edges).needs_frames
    if video is not None and not (needs_frames or OF_PICTURES.intersection(formats)):
        raise UsageError(
            "--video is for --frames, --masks alpha and guided edges only.",
            "Add one, or leave it out.",
        )
    with console.progress("writing masks", "frames") as meter:
        places = result.export(names, out, frames=frames, edges=edges, progress=meter.update)
    if console.wants_json():
        console.record({"out": str(out), "masks": list(formats), "frames": len(result)})
    else:
        console.result(f"{out}: masks of {len(result)} frames")
    console.note(f"Open {', '.join(map(str, places))}")
