"""slotcli decompose: videos to mask tracks, slots, overlay and report. The main job."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from slotcli.commands import console, setup
from slotcli.commands.options import (
    Device,
    Kernels,
    MaskFile,
    Masks,
    Model,
    Precision,
    Threads,
)
from slotcli.errors import LossError, SlotcliError, UsageError


def decompose(
    inputs: Annotated[
        list[str], typer.Argument(help="Video files, folders, image folders, glob patterns.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="One result folder a clip goes here.")
    ] = Path("slotcli-out"),
    model: Model = "tiny-64",
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look below folders too.")
    ] = False,
    masks: Masks = None,
    background: Annotated[
        str, typer.Option(help="The slot with label 0: auto, none, or its number.")
    ] = "auto",
    fit: Annotated[
        Literal["squeeze", "crop"],
        typer.Option(help="Squeeze the frame to the model's shape, or crop its centre."),
    ] = "squeeze",
    overwrite: Annotated[bool, typer.Option(help="Replace results that exist.")] = False,
    max_bad: Annotated[
        float, typer.Option(help="Share of damaged frames above which a clip is degraded.")
    ] = 0.02,
    max_pixels: Annotated[
        int, typer.Option(help="Refuse sources with more pixels in a frame.", min=1)
    ] = 8192 * 8192,
    chunk: Annotated[int, typer.Option(help="Frames on the model at once.", min=1)] = 16,
    precision: Annotated[
        Precision, typer.Option(help="Of the backbone. auto is fp32: bf16 moves masks' borders.")
    ] = "auto",
    kernels: Kernels = "auto",
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Find the objects of videos: mask tracks, slots, an overlay and a report for each clip."""
    from slotcli.checkpoint import load_model
    from slotcli.kernels.precision import halve
    from slotcli.runs.decompose import DecomposeOptions, decompose_clip, is_done
    from slotcli.runs.plan import plan

    clips = plan(inputs, out, recursive=recursive)
    options = DecomposeOptions(
        masks=tuple(name.value for name in masks or [MaskFile.png] if name != MaskFile.none),
        background=_background(background),
        fit=fit,
        chunk=chunk,
        max_bad=max_bad,
        max_pixels=max_pixels,
        overwrite=overwrite,
    )
    loaded = load_model(model)
    chosen = setup.choose_device(device)
    setup.set_threads(threads)
    setup.set_kernels(kernels)
    _, network = loaded.slot_model()
    setup.place(network, chosen)
    if precision == "bf16":
        halve(network.encoder.backbone)
    console.note(f"Model {loaded.spec.name}, step {loaded.step}, from {loaded.path}.")
    failed: list[SlotcliError] = []
    degraded = 0
    for clip in clips:
        if len(clips) > 1 and not overwrite and is_done(clip):
            console.note(f"{clip.result}: done already.")
            continue
        try:
            with console.progress(clip.source.name) as meter:
                result = decompose_clip(clip, loaded, options, chosen, meter.update)
        except SlotcliError as error:
            if len(clips) == 1 or isinstance(error, UsageError):
                raise
            console.error(error.what, error.advice)
            failed.append(error)
            continue
        degraded += result.status == "degraded"
        for warning in result.warnings:
            console.warn(f"{clip.source.name}: {warning}")
        if console.wants_json():
            console.record(
                {
                    "source": str(clip.source),
                    "result": str(result.folder),
                    "status": result.status,
                    "frames": result.frames,
                    "seconds": result.seconds,
                    "warnings": result.warnings,
                }
            )
        else:
            rate = result.frames / max(result.seconds, 1e-9)
            console.result(f"{result.folder}: {result.frames} frames, {rate:.1f} a second")
    if failed or degraded:
        raise LossError(
            f"{len(failed)} of {len(clips)} clips failed, {degraded} lost more than allowed.",
            "What could be had is there; each clip's result.json says what was lost.",
        )


def _background(text: str) -> int | Literal["auto", "none"]:
    if text == "auto" or text == "none":
        return text
    try:
        return int(text)
    except ValueError:
        raise UsageError(
            f"--background {text}: not a slot.", "Use auto, none, or a slot's number."
        ) from None
