"""slotcli data: clips to learn from and to be judged on."""

import shlex
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotcli.commands import console, data_sets, setup
from slotcli.commands.options import Device, Threads
from slotcli.errors import UsageError

if TYPE_CHECKING:
    from slotcli.data.synth_files import MaskKind, SynthClip
    from slotcli.types import Clip

app = typer.Typer(no_args_is_help=True, help="Make, look at, check and convert data sets.")

app.command()(data_sets.index)
app.command()(data_sets.check)
app.command()(data_sets.convert)


class TruthFile(StrEnum):
    """An enumeration, for typer takes no list of literals."""

    png = "png"
    ffv1 = "ffv1"


@app.callback()
def data() -> None:
    """Make, look at, check and convert data sets."""


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="Folder for videos, masks and index.json.")],
    tier: Annotated[
        str, typer.Option(help="A plain, C textured, E with a moving camera, or a held-out one.")
    ] = "C",
    clips: Annotated[int, typer.Option(help="How many, one a seed.", min=1)] = 16,
    frames: Annotated[int, typer.Option(help="Of each clip, 12 a second.", min=1)] = 24,
    size: Annotated[str, typer.Option(help="Pixels: 64, or height x width as in 64x96.")] = "64",
    seed: Annotated[int, typer.Option(help="Of the first clip.", min=0)] = 0,
    masks: Annotated[
        list[TruthFile] | None,
        typer.Option(help="Ground truth: palette PNGs, one lossless video. Repeatable."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Make clips again that are there.")] = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Render clips with their true masks; clips that are there already are not made again."""
    pixels = _size(size)

    console.phase("starting")
    from slotcli.data.scenes import TIERS, render_clip
    from slotcli.data.synth_files import SynthClip, reserved_for
    from slotcli.types import Clip

    if tier not in TIERS:
        raise UsageError(f"--tier {tier}: no such tier.", f"Use one of {', '.join(TIERS)}.")
    chosen = setup.choose_device(device)
    setup.set_threads(threads)
    kinds = _mask_kinds(masks)
    wanted = [SynthClip(tier, seed + i, frames, pixels, kinds) for i in range(clips)]

    def render(clip: SynthClip) -> Clip:
        return render_clip(clip.seed, clip.tier, clip.frames, clip.size, chosen)

    use = reserved_for(seed + clips - 1)
    if use is not None:
        console.warn(f"Seeds from {seed} on are held out ({use}): do not train on these clips.")
    _write(out, wanted, render, overwrite=overwrite, title=f"tier {tier}", use=use)


@app.command()
def sprites(
    out: Annotated[Path, typer.Argument(help="Folder for videos, masks and index.json.")],
    objects: Annotated[Path, typer.Option(help="Folder of pictures with alpha (PNG, WebP).")],
    photographs: Annotated[Path, typer.Option(help="Folder of photographs.")],
    clips: Annotated[int, typer.Option(help="How many, one a seed.", min=1)] = 16,
    frames: Annotated[int, typer.Option(help="Of each clip, 12 a second.", min=1)] = 24,
    size: Annotated[str, typer.Option(help="Pixels: 64, or height x width as in 64x96.")] = "128",
    seed: Annotated[int, typer.Option(help="Of the first clip.", min=0)] = 0,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Of the objects and photographs never trained on.")
    ] = False,
    masks: Annotated[
        list[TruthFile] | None,
        typer.Option(help="Ground truth: palette PNGs, one lossless video. Repeatable."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Make clips again that are there.")] = False,
) -> None:
    """Draw clips of pictures that move over photographs, with their true masks."""
    pixels = _size(size)

    console.phase("reading objects and photographs")
    from slotcli.data.sprites import Sprites
    from slotcli.data.synth_files import HELD_OUT_SPRITES, SPRITES, SynthClip
    from slotcli.spec import SpritesSpec
    from slotcli.types import Clip

    folders = str(objects), str(photographs)
    spec = SpritesSpec(
        objects=folders[0], photographs=folders[1], clips=clips, frames=frames, seed=seed
    )
    data = Sprites(spec, pixels, held_out=held_out)
    tier = HELD_OUT_SPRITES if held_out else SPRITES
    wanted = [
        SynthClip(tier, seed + i, frames, pixels, _mask_kinds(masks), assets=folders)
        for i in range(clips)
    ]

    def render(clip: SynthClip) -> Clip:
        return data.clip(clip.seed - seed, 0, frames)

    use = "validation" if held_out else None
    if held_out:
        console.warn("Held-out objects and photographs: do not train on these clips.")
    _write(out, wanted, render, overwrite=overwrite, title=tier, use=use)


def _mask_kinds(masks: list[TruthFile] | None) -> "tuple[MaskKind, ...]":
    chosen = dict.fromkeys(masks or [TruthFile.png])
    return tuple("png" if file is TruthFile.png else "ffv1" for file in chosen)


def _write(
    out: Path,
    wanted: "list[SynthClip]",
    render: "Callable[[SynthClip], Clip]",
    *,
    overwrite: bool,
    title: str,
    use: str | None,
) -> None:
    """Makes what is missing and says what was made; `use` is what the clips are held out for."""
    from slotcli.data.synth_files import VIDEOS
    from slotcli.runs.synth import write_clips

    clips = len(wanted)
    console.keeps_finished(anew_with="--overwrite" if overwrite else "")
    with console.progress(f"rendering clips of {title}", "clips") as meter:
        made = write_clips(out, wanted, overwrite=overwrite, render=render, progress=meter.update)
    if console.wants_json():
        console.record({"folder": str(out), "clips": clips, "made": made, "reserved_for": use})
    else:
        console.result(f"{out}: {made} clips made, {clips - made} were there already.")
    console.note(
        f"Train with --data {shlex.quote(str(out / VIDEOS))}, "
        f"evaluate with --data {shlex.quote(str(out))}."
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
