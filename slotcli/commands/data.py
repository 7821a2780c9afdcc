"""slotcli data: data sets to train and evaluate on."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

import typer

from slotcli.commands import console, data_sets, setup
from slotcli.commands.command_line import HERE_OR_OUT, Command, Group
from slotcli.commands.options import OUTPUT, Device, Threads, output_path, parse_choices
from slotcli.errors import UsageError

if TYPE_CHECKING:
    from slotcli.scenes.folder import MaskKind, SynthClip
    from slotcli.types import Clip

app = typer.Typer(
    cls=Group, no_args_is_help=True, help="Render, index, check and convert data sets."
)

app.command(cls=Command)(data_sets.index)
app.command(cls=Command)(data_sets.check)
app.command(cls=Command)(data_sets.convert)


TruthFile = Literal["png", "ffv1"]
TRUTH_FILES: tuple[TruthFile, ...] = get_args(TruthFile)
SCENES = "Scenes"

Folder = Annotated[
    Path | None,
    typer.Argument(
        metavar="FOLDER", help=f"Folder for videos, masks and index.json.  {HERE_OR_OUT}"
    ),
]
Clips = Annotated[
    int,
    typer.Option(help="Number of clips, one per seed.", min=1, metavar="N", rich_help_panel=SCENES),
]
Frames = Annotated[
    int,
    typer.Option(help="Frames per clip, at 12 fps.", min=1, metavar="N", rich_help_panel=SCENES),
]
FrameSize = Annotated[
    str,
    typer.Option(
        help="Pixels: 64, or height x width as in 64x96.",
        metavar="SIZE",
        rich_help_panel=SCENES,
    ),
]
FirstSeed = Annotated[
    int,
    typer.Option(help="Seed of the first clip.", min=0, metavar="N", rich_help_panel=SCENES),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="The folder, if not given as an argument.",
        metavar="FOLDER",
        rich_help_panel=OUTPUT,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Render existing clips again.", rich_help_panel=OUTPUT),
]
TrueMasks = Annotated[
    list[str] | None,
    typer.Option(
        help="True masks: png, ffv1 (one lossless video), or png,ffv1. Default: png.",
        metavar="FORMAT",
        rich_help_panel=OUTPUT,
    ),
]


@app.callback()
def data() -> None:
    """Render, index, check and convert data sets."""


@app.command(cls=Command)
def synth(
    folder: Folder = None,
    tier: Annotated[
        str,
        typer.Option(
            help="A: plain; C: textured; E: textured, moving camera; or a held-out tier.",
            metavar="TIER",
            rich_help_panel=SCENES,
        ),
    ] = "C",
    clips: Clips = 16,
    frames: Frames = 24,
    size: FrameSize = "64",
    seed: FirstSeed = 0,
    out: Out = None,
    overwrite: Overwrite = False,
    masks: TrueMasks = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Render clips of falling, colliding objects with their true masks.

    Existing clips are kept.

    Examples:
      slotcli data synth scenes --tier A --clips 64
      slotcli data synth scenes --size 64x96 --masks png,ffv1
    """
    place = output_path(folder, out, "FOLDER")
    pixels = _size(size)

    console.phase("starting")
    from slotcli.scenes import TIERS, render_clip
    from slotcli.scenes.folder import SynthClip, reserved_for
    from slotcli.types import Clip

    if tier not in TIERS:
        raise UsageError(f"--tier {tier}: no such tier.", f"Use one of {', '.join(TIERS)}.")
    on = setup.choose_device(device)
    setup.set_threads(threads)
    kinds = _mask_kinds(masks)
    wanted = [SynthClip(tier, seed + i, frames, pixels, kinds) for i in range(clips)]

    def render(clip: SynthClip) -> Clip:
        return render_clip(clip.seed, clip.tier, clip.frames, clip.size, on)

    use = reserved_for(seed + clips - 1)
    if use is not None:
        console.warn(f"Seeds from {seed} are held out ({use}): do not train on these clips.")
    _write(place, wanted, render, overwrite=overwrite, title=f"tier {tier}", use=use)


@app.command(cls=Command)
def sprites(
    objects: Annotated[
        Path,
        typer.Option(
            help="Folder of images with an alpha channel (PNG, WebP).",
            metavar="FOLDER",
            rich_help_panel=SCENES,
        ),
    ],
    photographs: Annotated[
        Path,
        typer.Option(help="Folder of photographs.", metavar="FOLDER", rich_help_panel=SCENES),
    ],
    folder: Folder = None,
    clips: Clips = 16,
    frames: Frames = 24,
    size: FrameSize = "128",
    seed: FirstSeed = 0,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held-out",
            help="Use the objects and photographs that are reserved for validation.",
            rich_help_panel=SCENES,
        ),
    ] = False,
    out: Out = None,
    overwrite: Overwrite = False,
    masks: TrueMasks = None,
) -> None:
    """Render clips of cut-out images that move over photographs, with their true masks.

    Examples:
      slotcli data sprites clips --objects emoji --photographs wallpapers
    """
    place = output_path(folder, out, "FOLDER")
    pixels = _size(size)
    kinds = _mask_kinds(masks)

    console.phase("reading objects and photographs")
    from slotcli.data.sprites import Sprites
    from slotcli.scenes.folder import HELD_OUT_SPRITES, SPRITES, SynthClip
    from slotcli.spec import SpritesSpec
    from slotcli.types import Clip

    folders = str(objects), str(photographs)
    spec = SpritesSpec(
        objects=folders[0], photographs=folders[1], clips=clips, frames=frames, seed=seed
    )
    data = Sprites(spec, pixels, held_out=held_out)
    tier = HELD_OUT_SPRITES if held_out else SPRITES
    wanted = [
        SynthClip(tier, seed + i, frames, pixels, kinds, assets=folders) for i in range(clips)
    ]

    def render(clip: SynthClip) -> Clip:
        return data.clip(clip.seed - seed, 0, frames)

    use = "validation" if held_out else None
    if held_out:
        console.warn("Held-out objects and photographs: do not train on these clips.")
    _write(place, wanted, render, overwrite=overwrite, title=tier, use=use)


def _mask_kinds(masks: list[str] | None) -> "tuple[MaskKind, ...]":
    return cast(
        "tuple[MaskKind, ...]", tuple(parse_choices("--masks", masks, TRUTH_FILES) or ["png"])
    )


def _write(
    place: Path,
    wanted: "list[SynthClip]",
    render: "Callable[[SynthClip], Clip]",
    *,
    overwrite: bool,
    title: str,
    use: str | None,
) -> None:
    """Renders missing clips and reports them; `use` is the purpose of held-out clips."""
    from slotcli.scenes.folder import VIDEOS
    from slotcli.scenes.make import write_clips

    clips = len(wanted)
    console.keeps_finished(anew_with="--overwrite" if overwrite else "")
    with console.progress(f"rendering clips of {title}", "clips") as meter:
        made = write_clips(place, wanted, overwrite=overwrite, render=render, progress=meter.update)
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
