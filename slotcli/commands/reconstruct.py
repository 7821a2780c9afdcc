"""slotcli reconstruct: a clip rendered from its slots."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from slotcli.commands import console, setup
from slotcli.commands.options import (
    COMPUTING,
    INPUT,
    MODEL,
    OUTPUT,
    Device,
    Kernels,
    Overwrite,
    Precision,
    Threads,
    parse_numbers,
)
from slotcli.errors import CannotCreateError, UsageError

COMPOSITE = "Composite"


def reconstruct(
    slots: Annotated[
        Path, typer.Argument(metavar="RESULT", help="A result folder of decompose, or a slot file.")
    ],
    keep: Annotated[
        list[str] | None,
        typer.Option(
            help="Render only the objects with these IDs, as 1 or 1,2. Repeatable.",
            metavar="IDS",
            rich_help_panel=INPUT,
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave out the objects with these IDs, as 1 or 1,2. Repeatable.",
            metavar="IDS",
            rich_help_panel=INPUT,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The model that made the slots, if it has moved.",
            metavar="MODEL",
            rich_help_panel=MODEL,
        ),
    ] = None,
    sampler: Annotated[
        Literal["singlestep", "multistep", "ddim"],
        typer.Option(
            help="DPM-Solver++ of third (singlestep) or second order (multistep), or DDIM.",
            rich_help_panel=MODEL,
        ),
    ] = "singlestep",
    evaluations: Annotated[
        int | None,
        typer.Option(
            help="Function evaluations of the U-Net per frame. Default: the model's; 20, but 4 of "
            "things-128.",
            min=1,
            metavar="N",
            rich_help_panel=MODEL,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Seed of the initial noise, the same in every frame.",
            min=0,
            metavar="N",
            rich_help_panel=MODEL,
        ),
    ] = 0,
    noise_scale: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of the initial noise: 1 gives a sample; 0 nearly the "
            "posterior mean, smoother and nearer to the source. Default: the model's.",
            min=0,
            max=10,
            metavar="X",
            rich_help_panel=MODEL,
        ),
    ] = None,
    composite: Annotated[
        bool,
        typer.Option(
            "--composite",
            help="Of an edit: change the clip's own frames, and only where the edit does.",
            rich_help_panel=COMPOSITE,
        ),
    ] = False,
    fill: Annotated[
        Literal["auto", "median", "telea", "ns", "model"] | None,
        typer.Option(
            help="What a removed object hid: the clip's median (auto where the camera stands "
            "still), OpenCV's inpainting (auto: telea), or the model's rendering. Default: auto.",
            rich_help_panel=COMPOSITE,
        ),
    ] = None,
    feather: Annotated[
        float | None,
        typer.Option(
            help="Width of the soft borders of a composite. Default: a hundredth of the shorter "
            "side, at least 2.",
            min=0,
            max=1000,
            metavar="PIXELS",
            rich_help_panel=COMPOSITE,
        ),
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(
            help="The source clip of a composite, if it has moved.",
            metavar="FILE",
            rich_help_panel=COMPOSITE,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The MP4 to write, of a composite also lossless as .mkv. Default: "
            "reconstruction.mp4, or composite.mkv, beside the slots.",
            metavar="FILE",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Overwrite = False,
    batch: Annotated[
        int,
        typer.Option(
            help="Frames rendered at once.", min=1, metavar="N", rich_help_panel=COMPUTING
        ),
    ] = 16,
    device: Device = "auto",
    threads: Threads = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="Precision of the decoder. auto is bf16 where the processor supports it.",
            rich_help_panel=COMPUTING,
        ),
    ] = "auto",
    kernels: Kernels = "auto",
) -> None:
    """Render a clip from its slots, at the source's size and timing.

    Examples:
      slotcli reconstruct slotcli-out/tier-a.mp4
      slotcli reconstruct slotcli-out/tier-a.mp4 --drop 2,3 -o without.mp4
      slotcli reconstruct slotcli-out/tier-a.mp4/edited.slots.safetensors --composite
    """
    console.phase("reading the slots")
    from slotcli.commands.composite_video import write_composite
    from slotcli.files.writing import output_errors
    from slotcli.results.reconstruct import (
        ReconstructOptions,
        Rendering,
        find_slot_file,
        kept_ids,
        load_decoder,
        recorded_model,
    )
    from slotcli.tracks.slot_file import read_slot_file

    if composite and (keep or drop):
        raise UsageError(
            "--composite shows the edits of a slot file.", "Use slotcli edit --drop or --keep."
        )
    if not composite and any(value is not None for value in (fill, feather, video)):
        raise UsageError("--fill, --feather and --video are for --composite.", "Add it.")
    keep_ids, drop_ids = parse_numbers("--keep", keep), parse_numbers("--drop", drop)
    path = find_slot_file(slots)
    slot_file = read_slot_file(path)
    target = out or path.with_name("composite.mkv" if composite else "reconstruction.mp4")
    with output_errors(target):
        taken = target.exists()
    if taken and not overwrite:
        raise CannotCreateError(f"{target}: exists already.", "Use --overwrite, or another --out.")
    kept = kept_ids(slot_file, keep_ids, drop_ids)
    options = ReconstructOptions(sampler, evaluations, batch, seed, kept, noise_scale)

    def rendering() -> Rendering:
        console.phase("loading the model")
        name = model or recorded_model(path, slot_file)
        chosen = setup.choose_device(device)
        setup.set_threads(threads, name)
        setup.set_kernels(kernels)
        return Rendering(slot_file, load_decoder(name, chosen, precision), options, chosen)

    if composite:
        write_composite(slot_file, path, target, fill or "auto", feather, video, rendering)
        return
    frames = rendering()
    with console.progress("rendering frames", "frames") as meter:
        remarks = frames.save(target, meter.update)
    for remark in remarks:
        console.warn(f"{target.name}: {remark}")
    if console.wants_json():
        console.record({"video": str(target), "frames": len(slot_file.pts)})
    else:
        console.result(f"{target}: {len(slot_file.pts)} frames")
    console.note(f"Open {target}")
