"""slotcli data: data sets to train and evaluate on."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

import typer

from slotcli.commands import console, data_sets, setup
from slotcli.commands.command_line import Command, Group
from slotcli.commands.options import OUTPUT, Device, Threads, chosen, one_place
from slotcli.errors import UsageError

if TYPE_CHECKING:
    from slotcli.data.synth_files import MaskKind

app = typer.Typer(
    cls=Group, no_args_is_help=True, help="Render, index, check and convert data sets."
)

app.command(cls=Command)(data_sets.index)
app.command(cls=Command)(data_sets.check)
app.command(cls=Command)(data_sets.convert)


TruthFile = Literal["png", "ffv1"]
TRUTH_FILES: tuple[TruthFile, ...] = get_args(TruthFile)
SCENES = "Scenes"


@app.callback()
def data() -> None:
    """Render, index, check and convert data sets."""


@app.command(cls=Command)
def synth(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="Folder for videos, masks and index.json."),
    ] = None,
    tier: Annotated[
        str,
        typer.Option(
            help="A: plain; C: textured; E: textured, moving camera; or a held-out tier.",
            metavar="TIER",
            rich_help_panel=SCENES,
        ),
    ] = "C",
    clips: Annotated[
        int,
        typer.Option(
            help="Number of clips, one per seed.", min=1, metavar="N", rich_help_panel=SCENES
        ),
    ] = 16,
    frames: Annotated[
        int,
        typer.Option(
            help="Frames per clip, at 12 fps.", min=1, metavar="N", rich_help_panel=SCENES
        ),
    ] = 24,
    size: Annotated[
        str,
        typer.Option(
            help="Pixels: 64, or height x width as in 64x96.",
            metavar="SIZE",
            rich_help_panel=SCENES,
        ),
    ] = "64",
    seed: Annotated[
        int,
        typer.Option(help="Seed of the first clip.", min=0, metavar="N", rich_help_panel=SCENES),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The folder, if not given as an argument.",
            metavar="FOLDER",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Render clips again that exist.", rich_help_panel=OUTPUT),
    ] = False,
    masks: Annotated[
        list[str] | None,
        typer.Option(
            help="True masks: png, ffv1 (one lossless video), or png,ffv1. Default: png.",
            metavar="FORMAT",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Render clips of falling, colliding objects with their true masks.

    Clips that exist are not rendered again.

    Examples:
      slotcli data synth scenes --tier A --clips 64
      slotcli data synth scenes --size 64x96 --masks png,ffv1
    """
    place = one_place(folder, out, "FOLDER")
    pixels = _size(size)

    from slotcli.data.scenes import TIERS
    from slotcli.data.synth_files import VIDEOS, SynthClip, reserved_for
    from slotcli.runs.synth import write_clips

    if tier not in TIERS:
        raise UsageError(f"--tier {tier}: no such tier.", f"Use one of {', '.join(TIERS)}.")
    kinds = cast("tuple[MaskKind, ...]", tuple(chosen("--masks", masks, TRUTH_FILES) or ["png"]))
    on = setup.choose_device(device)
    setup.set_threads(threads)
    wanted = [SynthClip(tier, seed + i, frames, pixels, kinds) for i in range(clips)]
    use = reserved_for(seed + clips - 1)
    if use is not None:
        console.warn(f"Seeds from {seed} are held out ({use}): do not train on these clips.")
    with console.progress(f"tier {tier}") as meter:
        made = write_clips(place, wanted, overwrite=overwrite, device=on, progress=meter.update)
    if console.wants_json():
        console.record({"folder": str(place), "clips": clips, "made": made, "reserved_for": use})
    else:
        console.result(f"{place}: {made} clips rendered, {clips - made} existed already.")
    console.note(
        f"Train with --data {shlex.quote(str(place / VIDEOS))}, "
        f"evaluate with --data {shlex.quote(str(place))}."
    )


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    try:
        size = int(height), int(width or height)
    except ValueError:
        size = (0, 0)
    if min(size) < 1:
        raise UsageError(f"--size {text}: not a size.", "Write 64, or 64x96 for height x width.")
    return size
