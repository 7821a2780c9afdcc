"""slotcli bench complexity: the paper's Table 4, measured on this machine."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcli.commands import console
from slotcli.commands.bench.record import (
    Batch,
    ClipLength,
    Out,
    flag,
    headline,
    number,
    prepare,
    publish,
    require_free,
    spread,
)
from slotcli.commands.options import Device, Overwrite, Threads
from slotcli.errors import LossError

if TYPE_CHECKING:
    from slotcli.bench.complexity import DrawingWork

SCHEMA = "slotcli.complexity/1"
VIDEO_SYSTEMS = ("savi-movi-d", "steve-movi-d", "slotdiffusion-movi-d")
IMAGE_SYSTEMS = ("slot-attention-clevrtex", "slate-clevrtex", "slotdiffusion-clevrtex")


def complexity(
    definitions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Names or model.toml files. Default: SAVi, STEVE and SlotDiffusion.",
        ),
    ] = None,
    images: Annotated[
        bool, flag("--images", "Without MODEL, measure the systems for images instead.")
    ] = False,
    batch: Batch = None,
    frames: ClipLength = None,
    draw: Annotated[int, number("Frames rendered at once.")] = 8,
    repeats: Annotated[int, number("Timed runs, after one to warm up.")] = 5,
    quick: Annotated[
        bool, flag("--quick", "One run each, with one rendered frame: rough, for a first look.")
    ] = False,
    uncached: Annotated[
        bool,
        flag("--uncached", "Measure STEVE without its cache too, as published: minutes per frame."),
    ] = False,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Measure parameters, FLOPs, memory, training step and rendering time, as in Table 4.

    The table is the SlotDiffusion paper's. Weights and frames are random, which does not change
    the figures. A training step includes the frozen codec and Adam, at float32; the time of 100
    videos of 24 frames is extrapolated.

    Examples:
      slotcli bench complexity tiny-64 --quick
      slotcli bench complexity -o table4.json
    """
    require_free(out, overwrite)
    console.phase("starting")
    from slotcli.bench.complexity import FRAMES_EACH, DrawingWork, complexity
    from slotcli.bench.subject import Work, load_slot_definition

    names = definitions or (IMAGE_SYSTEMS if images else VIDEO_SYSTEMS)
    specs = [load_slot_definition(name) for name in names]
    chosen, environment = prepare(device, threads)
    on_gpu = chosen.type == "cuda"
    environment |= _how(on_gpu=on_gpu)
    drawing = DrawingWork(
        encoded_frames=FRAMES_EACH // 8 if quick else FRAMES_EACH,
        drawn_frames=1 if quick else draw,
        warm_up=0 if quick else 1,
        uncached=uncached,
    )
    measured: list[dict[str, Any]] = []
    with console.progress("measuring", "systems") as meter:
        for spec in specs:
            work = Work(
                device=str(chosen),
                threads=environment["threads"],
                batch=batch or (spec.train.batch_size if on_gpu else 1),
                clip_length=frames or spec.train.clip_length,
                rounds=1 if quick else repeats,
            )
            measured.append(complexity(spec, work, drawing))
            meter.update(len(measured), len(specs), spec.name)
    summary = {
        "schema": SCHEMA,
        "environment": environment,
        "weights": "random",
        "quick": quick,
        "systems": measured,
    }
    publish(summary, out, lambda: _show(environment, measured, drawing))
    parts = ("training_step", "encode", "render")
    if failed := [own for own in measured if any(own[part] is None for part in parts)]:
        names = ", ".join(own["name"] for own in failed)
        raise LossError(
            f"Not everything could be measured of {names}.",
            "Use a smaller --batch or --draw, or another device.",
        )


def _how(*, on_gpu: bool) -> dict[str, Any]:
    """Facts of the environment that only these figures depend on."""
    import torch

    return {
        "memory_is": "torch.cuda.max_memory_allocated"
        if on_gpu
        else "growth of resident memory to its peak, in a process of its own",
        "dtype": "float32",
        "tf32_convolutions": on_gpu and torch.backends.cudnn.allow_tf32,
    }


def _show(
    environment: dict[str, Any], measured: list[dict[str, Any]], drawing: "DrawingWork"
) -> None:
    """Prints the systems in columns, as in the paper, then how they were measured."""
    from slotcli.bench.complexity import FRAMES_EACH, VIDEOS

    console.result(
        f"{headline(environment)}, float32, random weights. Median (range) of each time."
    )
    columns = [_column(found, drawing) for found in measured]
    names = [found["name"] for found in measured]
    labels = list(columns[0])
    console.table("", ["", *names], [[row, *(column[row] for column in columns)] for row in labels])
    console.result(
        "step: forward, backward and Adam, with the frozen codec; GFLOP: of one frame, 10^9 "
        "operations of convolutions and matrix products; encode N, draw N: N frames."
    )
    console.result(f"Memory: {environment['memory_is']}.")
    console.result(
        f"{VIDEOS} videos: {VIDEOS} x {FRAMES_EACH} frames encoded and drawn, EXTRAPOLATED from "
        "the frames above."
    )
    reasons = {
        f"{found['name']}, {name}": why
        for found in measured
        for name, why in found["reasons"].items()
        if name != "render_uncached"
    }
    for what, why in reasons.items():
        console.warn(f"{what}: {why}")


def _column(measured: dict[str, Any], drawing: "DrawingWork") -> dict[str, str]:
    def seconds(name: str) -> str:
        timing = measured[name]
        return "-" if timing is None else spread(timing["median_seconds"], timing["runs"])

    whole = measured["reconstruction"] and measured["reconstruction"]["seconds"]
    memory = measured["training_step_peak_bytes"]
    return {
        "parameters": f"{measured['parameters'] / 1e6:.2f} M",
        "trained": f"{measured['trainable_parameters'] / 1e6:.2f} M",
        "encode, GFLOP": f"{measured['encode_flops_per_frame'] / 1e9:.2f}",
        "step, GFLOP": f"{measured['training_step_flops_per_frame'] / 1e9:.2f}",
        "step, frames": f"{measured['batch']} x {measured['clip_length']}",
        "step, memory": "-" if memory is None else f"{memory / 2**30:.2f} GiB",
        "step, s": seconds("training_step"),
        f"encode {drawing.encoded_frames}, s": seconds("encode"),
        f"draw {drawing.drawn_frames}, s": seconds("render"),
        "uncached 1, s": seconds("render_uncached"),
        "100 videos, min": "-" if whole is None else f"{whole / 60:.1f}",
    }
