"""slotcli bench: what things cost here. `complexity` is the paper's Table 4."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcli.commands import console, setup
from slotcli.commands.options import Device, Threads
from slotcli.errors import CannotCreateError, LossError, UsageError

if TYPE_CHECKING:
    import torch

    from slotcli.runs.complexity import Complexity, Timing, Workload
    from slotcli.spec import SlotModelSpec

SCHEMA = "slotcli.complexity/1"
VIDEO_SYSTEMS = ("savi-movi-d", "steve-movi-d", "slotdiffusion-movi-d")
IMAGE_SYSTEMS = ("slot-attention-clevrtex", "slate-clevrtex", "slotdiffusion-clevrtex")

app = typer.Typer(no_args_is_help=True, help="Measure what things cost on this machine.")


@app.callback()
def bench() -> None:
    """Measure what things cost on this machine."""


@app.command()
def complexity(
    definitions: Annotated[
        list[str] | None,
        typer.Argument(help="Names or model.toml files; SAVi, STEVE, SlotDiffusion by default."),
    ] = None,
    images: Annotated[
        bool, typer.Option(help="By default the systems for images in their place.")
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(help="Clips in a step; the definition's on a GPU, 1 on a CPU.", min=1),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="Of each clip of a step; the definition's.", min=1)
    ] = None,
    draw: Annotated[int, typer.Option(help="Frames drawn at once.", min=1)] = 8,
    repeats: Annotated[int, typer.Option(help="Timed runs, after one to warm up.", min=1)] = 5,
    quick: Annotated[
        bool, typer.Option(help="One run of each, of one drawn frame: rough, for a first look.")
    ] = False,
    uncached: Annotated[
        bool, typer.Option(help="Also STEVE without its cache, as published: minutes a frame.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A JSON file for everything measured.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a file that exists.")] = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Parameters, operations, memory and time of training and drawing, as the paper's Table 4.

    Weights and frames are random: they do not change what is measured. A step is measured with
    its frozen codec and Adam, at float32; 100 videos of 24 frames are extrapolated.
    """
    if out is not None and out.exists() and not overwrite:
        raise CannotCreateError(f"{out}: exists already.", "Use --overwrite, or another --out.")
    names = definitions or list(IMAGE_SYSTEMS if images else VIDEO_SYSTEMS)
    specs = [_system(name) for name in names]

    import torch

    from slotcli.runs.complexity import FRAMES_EACH, Workload, complexity

    chosen = setup.choose_device(device)
    setup.set_threads(threads)
    environment = _environment(chosen)
    if environment["load_average"] > len(os.sched_getaffinity(0)) / 2:
        console.warn("This machine is at work already: times will be too long.")
    measured: list[tuple[SlotModelSpec, Workload, Complexity]] = []
    with console.progress("measured") as meter:
        for spec in specs:
            on_gpu = chosen.type == "cuda"
            work = Workload(
                device=str(chosen),
                threads=torch.get_num_threads(),
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
    if out is not None:
        _write(out, summary)
    console.record(summary)
    if not console.wants_json():
        _show(environment, measured)
    if failed := [spec.name for spec, _, found in measured if not (found.step and found.drawing)]:
        raise LossError(
            f"Not everything could be measured of {', '.join(failed)}.",
            "Use a smaller --batch or --draw, or another device.",
        )


def _system(reference: str) -> "SlotModelSpec":
    from slotcli.checkpoint import find_definition
    from slotcli.spec import SlotModelSpec, load_definition

    spec = load_definition(find_definition(reference))
    if not isinstance(spec, SlotModelSpec):
        raise UsageError(f"{reference}: is a codec, not a slot model.", "Choose a slot model.")
    return spec


def _environment(device: "torch.device") -> dict[str, Any]:
    import platform
    from datetime import UTC, datetime

    import torch

    from slotcli import __version__

    on_gpu = device.type == "cuda"
    return {
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "memory_is": "torch.cuda.max_memory_allocated"
        if on_gpu
        else "growth of resident memory to its peak, in a process of its own",
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "dtype": "float32",
        "tf32_convolutions": on_gpu and torch.backends.cudnn.allow_tf32,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["slotcli", *sys.argv[1:]]),
    }


def _processor() -> str:
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _write(out: Path, summary: dict[str, Any]) -> None:
    from slotcli.tracks.writing import output_errors, whole_file

    with output_errors(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out) as file:
        file.write(json.dumps(summary, indent=1, sort_keys=True).encode() + b"\n")


def _show(
    environment: dict[str, Any], measured: "list[tuple[SlotModelSpec, Workload, Complexity]]"
) -> None:
    """Systems side by side, as in the paper; then what the numbers were measured with."""
    from slotcli.runs.complexity import FRAMES_EACH, VIDEOS

    console.result(
        f"On {environment['device_name']}, {environment['threads']} threads, torch "
        f"{environment['torch']}, float32, random weights. Median (range) of each time."
    )
    columns = [_column(found, work) for _, work, found in measured]
    names = [spec.name for spec, _, _ in measured]
    labels = list(columns[0])
    console.table("", ["", *names], [[row, *(column[row] for column in columns)] for row in labels])
    console.result(
        "step: forward, backward and Adam, with the frozen codec; GFLOP: of one frame, 10^9 "
        "operations of convolutions and matrix products; encode N, draw N: so many frames."
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
    from slotcli.runs.complexity import VIDEOS

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
    if timing is None:
        return "-"
    median, low, high = timing.median, min(timing.seconds), max(timing.seconds)
    shown = f"{median:.3g}"
    return shown if len(timing.seconds) == 1 else f"{shown} ({low:.3g}-{high:.3g})"
