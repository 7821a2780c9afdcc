"""slotcli bench complexity: the paper's Table 4, measured on this machine."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcli.commands import console
from slotcli.commands.bench.record import (
    MEASUREMENT,
    Batch,
    ClipLength,
    Out,
    finish,
    headline,
    prepare,
    require_free,
    say_written,
    spread,
)
from slotcli.commands.options import Device, Overwrite, Threads
from slotcli.errors import LossError, UsageError

if TYPE_CHECKING:
    import torch

    from slotcli.bench.complexity import Complexity, Workload
    from slotcli.bench.timing import Timing
    from slotcli.spec import SlotModelSpec

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
        bool,
        typer.Option(
            "--images",
            help="Without MODEL, measure the systems for images instead.",
            rich_help_panel=MEASUREMENT,
        ),
    ] = False,
    batch: Batch = None,
    frames: ClipLength = None,
    draw: Annotated[
        int,
        typer.Option(
            help="Frames rendered at once.", min=1, metavar="N", rich_help_panel=MEASUREMENT
        ),
    ] = 8,
    repeats: Annotated[
        int,
        typer.Option(
            help="Timed runs, after one to warm up.",
            min=1,
            metavar="N",
            rich_help_panel=MEASUREMENT,
        ),
    ] = 5,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="One run each, with one rendered frame: rough, for a first look.",
            rich_help_panel=MEASUREMENT,
        ),
    ] = False,
    uncached: Annotated[
        bool,
        typer.Option(
            "--uncached",
            help="Measure STEVE without its cache too, as published: minutes per frame.",
            rich_help_panel=MEASUREMENT,
        ),
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
    names = definitions or list(IMAGE_SYSTEMS if images else VIDEO_SYSTEMS)
    specs = [_system(name) for name in names]

    from slotcli.bench.complexity import FRAMES_EACH, Workload, complexity

    chosen, environment = prepare(device, threads)
    environment |= _how(chosen)
    measured: list[tuple[SlotModelSpec, Workload, Complexity]] = []
    with console.progress("measuring", "systems") as meter:
        for spec in specs:
            on_gpu = chosen.type == "cuda"
            work = Workload(
                device=str(chosen),
                threads=environment["threads"],
                batch=batch or (spec.train.batch_size if on_gpu else 1),
                clip_length=frames or spec.train.clip_length,
                repeats=1 if quick else repeats,
                warm_up=0 if quick else 1,
                encoded_frames=FRAMES_EACH // 8 if quick else FRAMES_EACH,
                drawn_frames=1 if quick else draw,
                uncached=uncached,
            )
            measured.append((spec, work, complexity(spec, work)))
            meter.update(len(measured), len(specs), spec.name)
    summary = {
        "schema": SCHEMA,
        "environment": environment,
        "weights": "random",
        "quick": quick,
        "systems": [
            {
                "name": spec.name,
                "decoder": spec.decoder.kind,
                "batch": work.batch,
                "clip_length": work.clip_length,
                **found.as_dict(),
            }
            for spec, work, found in measured
        ],
    }
    finish(summary, out)
    if not console.wants_json():
        _show(environment, measured)
    say_written(out)
    if failed := [spec.name for spec, _, found in measured if not (found.step and found.drawing)]:
        raise LossError(
            f"Not everything could be measured of {', '.join(failed)}.",
            "Use a smaller --batch or --draw, or another device.",
        )


def _system(reference: str) -> "SlotModelSpec":
    from slotcli.checkpoint import find_definition
    from slotcli.definition import load_definition
    from slotcli.spec import SlotModelSpec

    spec = load_definition(find_definition(reference))
    if not isinstance(spec, SlotModelSpec):
        raise UsageError(f"{reference}: is a codec, not a slot model.", "Choose a slot model.")
    return spec


def _how(device: "torch.device") -> dict[str, Any]:
    """Facts of the environment that only these figures depend on."""
    import torch

    on_gpu = device.type == "cuda"
    return {
        "memory_is": "torch.cuda.max_memory_allocated"
        if on_gpu
        else "growth of resident memory to its peak, in a process of its own",
        "dtype": "float32",
        "tf32_convolutions": on_gpu and torch.backends.cudnn.allow_tf32,
    }


def _show(
    environment: dict[str, Any], measured: "list[tuple[SlotModelSpec, Workload, Complexity]]"
) -> None:
    """Prints the systems in columns, as in the paper, then how they were measured."""
    from slotcli.bench.complexity import FRAMES_EACH, VIDEOS

    console.result(
        f"{headline(environment)}, float32, random weights. Median (range) of each time."
    )
    columns = [_column(found, work) for _, work, found in measured]
    names = [spec.name for spec, _, _ in measured]
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
        f"{spec.name}, {name}": why
        for spec, _, found in measured
        for name, why in found.reasons.items()
        if name != "render_uncached"
    }
    for what, why in reasons.items():
        console.warn(f"{what}: {why}")


def _column(found: "Complexity", work: "Workload") -> dict[str, str]:
    from slotcli.bench.complexity import VIDEOS

    step, drawing, counts = found.step, found.drawing, found.counts
    memory, whole = step and step.peak_bytes, found.reconstruction_seconds
    return {
        "parameters": f"{counts.parameters / 1e6:.2f} M",
        "trained": f"{counts.trainable / 1e6:.2f} M",
        "encode, GFLOP": f"{counts.encode_flops / 1e9:.2f}",
        "step, GFLOP": f"{counts.step_flops / 1e9:.2f}",
        "step, frames": f"{work.batch} x {work.clip_length}",
        "step, memory": "-" if memory is None else f"{memory / 2**30:.2f} GiB",
        "step, s": _seconds(step and step.time),
        f"encode {work.encoded_frames}, s": _seconds(drawing and drawing.encode),
        f"draw {work.drawn_frames}, s": _seconds(drawing and drawing.render),
        "uncached 1, s": _seconds(drawing and drawing.render_uncached),
        f"{VIDEOS} videos, min": "-" if whole is None else f"{whole / 60:.1f}",
    }


def _seconds(timing: "Timing | None") -> str:
    return "-" if timing is None else spread(timing.median, timing.seconds)
