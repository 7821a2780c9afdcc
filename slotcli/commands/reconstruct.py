"""slotcli reconstruct: a clip drawn again from its slots."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from slotcli.commands import console, setup
from slotcli.commands.options import Device, Kernels, Precision, Threads
from slotcli.errors import CannotCreateError, UsageError


def reconstruct(
    slots: Annotated[Path, typer.Argument(help="A slot file, or a result folder of decompose.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The MP4; reconstruction.mp4 beside the slots by default."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model the slots came from, where it cannot be found.")
    ] = None,
    keep: Annotated[
        list[int] | None,
        typer.Option(help="Draw only the object of this ID. Repeatable."),
    ] = None,
    drop: Annotated[
        list[int] | None, typer.Option(help="Leave out the object of this ID. Repeatable.")
    ] = None,
    sampler: Annotated[
        Literal["singlestep", "multistep", "ddim"],
        typer.Option(help="DPM-Solver++ of third or second order, or DDIM."),
    ] = "singlestep",
    evaluations: Annotated[int, typer.Option(help="Evaluations of the U-Net.", min=1)] = 20,
    seed: Annotated[
        int, typer.Option(help="Of the noise that every frame starts from.", min=0)
    ] = 0,
    batch: Annotated[int, typer.Option(help="Frames drawn at once.", min=1)] = 16,
    overwrite: Annotated[bool, typer.Option(help="Replace a video that exists.")] = False,
    precision: Annotated[
        Precision,
        typer.Option(help="Of what draws. auto is bf16 where the processor computes in it."),
    ] = "auto",
    kernels: Kernels = "auto",
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Draw a clip again from its slots, at the source's size and timing."""
    from slotcli.checkpoint import load_model
    from slotcli.kernels.precision import computes_in_bf16, halve
    from slotcli.runs.reconstruct import (
        ReconstructOptions,
        find_slot_file,
        recorded_ids,
        recorded_model,
        require_ids,
    )
    from slotcli.runs.reconstruct import reconstruct as draw
    from slotcli.tracks.slot_file import read_slot_file
    from slotcli.tracks.writing import output_errors

    if keep and drop:
        raise UsageError("--keep and --drop exclude each other.", "Use one of them.")
    path = find_slot_file(slots)
    slot_file = read_slot_file(path)
    target = out or path.with_name("reconstruction.mp4")
    with output_errors(target):
        taken = target.exists()
    if taken and not overwrite:
        raise CannotCreateError(f"{target}: exists already.", "Use --overwrite, or another --out.")
    require_ids(slot_file, [*(keep or ()), *(drop or ())])
    kept = tuple(own for own in recorded_ids(slot_file) if own not in drop) if drop else keep
    loaded = load_model(model or recorded_model(path, slot_file))
    chosen = setup.choose_device(device)
    setup.set_threads(threads, str(loaded.path))
    setup.set_kernels(kernels)
    _, network = loaded.slot_model()
    setup.place(network, chosen)
    if precision == "bf16" or (precision == "auto" and computes_in_bf16(chosen)):
        halve(*network.decoder.networks)
    drawn = None if kept is None else tuple(kept)
    options = ReconstructOptions(sampler, evaluations, batch, seed, drawn)
    with console.progress(target.name) as meter:
        draw(slot_file, loaded, target, options, chosen, meter.update)
    if console.wants_json():
        console.record({"video": str(target), "frames": len(slot_file.pts)})
    else:
        console.result(f"{target}: {len(slot_file.pts)} frames")
