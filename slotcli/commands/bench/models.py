"""slotcli bench decompose, reconstruct and train: whole models beside plain PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcli.commands import console
from slotcli.commands.bench.record import (
    COSTS,
    Batch,
    ClipLength,
    Compile,
    Out,
    Quick,
    Rounds,
    cost,
    file,
    headline,
    number,
    prepare,
    publish,
    require_free,
    spread,
)
from slotcli.commands.options import Device, OptionalModel, Overwrite, Threads
from slotcli.errors import LossError, UsageError

if TYPE_CHECKING:
    import torch

    from slotcli.bench.clips import EndToEnd
    from slotcli.bench.comparison import Comparison
    from slotcli.bench.forms import Variant
    from slotcli.bench.inference import Tell
    from slotcli.bench.subject import Subject

_MODEL = "slotdiffusion-movi-d"
Named = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help=f"The model, if not given as --model. Default: {_MODEL}.",
    ),
]
# The figures that tables show, in their order: title, format, unit.
_FIGURES = {
    "frames_per_second": ("frames/s", "{:.3g}", 1),
    "samples_per_second": ("clips/s", "{:.3g}", 1),
    "flops_per_second": ("GFLOP/s", "{:.0f}", 1e9),
    "utilisation": ("of products", "{:.0%}", 1),
    "to_plain_fp32": ("x plain fp32", "{:.2f}", 1),
    "to_plain_same": ("x plain same", "{:.2f}", 1),
    "slots_error": ("slots_error", "{:.0e}", 1),
    "mask_pixels_changed": ("mask_pixels_changed", "{:.2%}", 1),
    "prediction_error": ("prediction_error", "{:.0e}", 1),
    "psnr_db": ("psnr_db", "{:.1f}", 1),
    "peak_bytes": ("memory", "{:.2f} GiB", 2**30),
    "loss_error": ("loss_error", "{:.0e}", 1),
}


@dataclass(frozen=True)
class _Setting:
    """Subject, device and size of a model bench."""

    subject: "Subject"
    device: "torch.device"
    environment: dict[str, Any]
    variants: "list[Variant]"
    reasons: dict[str, str]  # why other variants are missing


def decompose(
    name: Named = None,
    model: OptionalModel = None,
    clip: Annotated[
        Path | None, file("Time decompose end to end on this video file, not the model alone.")
    ] = None,
    frames: Annotated[int, number("Frames of the clip of noise.")] = 24,
    rounds: Rounds = 5,
    quick: Quick = False,
    compile_: Compile = False,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Time the encoding of a clip, and show what half precision changes.

    With --clip: frames per second end to end, with and without the overlay, the time of each
    stage, and the frames per second that it alone would allow.

    Examples:
      slotcli bench decompose tiny-64 --quick
      slotcli bench decompose tiny-64 --clip samples/tier-a.mp4
    """
    reference = _reference(name, model)
    require_free(out, overwrite)
    console.phase("loading the model")
    rounds = 1 if quick else rounds
    if clip is not None:
        _from_file_to_result(clip, reference, rounds, out, device, threads)
        return
    from slotcli.bench.inference import bench_encode

    setting = _open(reference, device, threads, compiled=compile_)
    subject, on, variants = setting.subject, setting.device, setting.variants
    with console.progress("timing", "runs") as meter:
        tell = _teller(meter, len(variants) * (1 + rounds))
        found = bench_encode(subject, variants, on, frames=frames, rounds=rounds, tell=tell)
    _report("decompose", setting, [found], out)


def _reference(positional: str | None, model: str | None) -> str:
    if positional is not None and model is not None:
        raise UsageError("MODEL is given twice.", "Give it as an argument, or as --model.")
    return positional or model or _MODEL


def _from_file_to_result(
    clip: Path, model: str, rounds: int, out: Path | None, device: str, threads: int | None
) -> None:
    import torch

    from slotcli.bench.clips import bench_clip
    from slotcli.checkpoint import load_model

    if clip.is_dir():
        raise UsageError(f"--clip {clip}: is a folder.", "Name one video file.")
    loaded = load_model(model)
    chosen, environment = prepare(device, threads)
    loaded.slot_model()[1].to(chosen).to(memory_format=torch.channels_last)
    with console.progress("timing", "runs") as meter:
        tell = _teller(meter, 1 + 3 * rounds)
        found = bench_clip(clip, loaded, chosen, rounds=rounds, tell=tell)
    named = {"name": loaded.spec.name, "weights_sha256": loaded.sha256}
    summary = {"schema": "slotcli.bench.decompose/1", "environment": environment, "model": named}
    summary |= {"end_to_end": found.as_dict()}
    publish(summary, out, lambda: _show_stages(environment, loaded.spec.name, found))


def _show_stages(environment: dict[str, Any], model: str, parts: "EndToEnd") -> None:
    height, width = parts.size
    console.result(f"{headline(environment)}; {model}, {parts.clip}, {width}x{height}.")
    frames = parts.whole.frames
    ms = frames / 1e3

    def row(name: str, seconds: Sequence[float], share: str, bound: float) -> list[str]:
        return [name, spread(median(seconds), seconds, ms), share, f"{bound:.3g}"]

    codec, whole, bare, cpu = parts.codec, parts.whole, parts.bare, parts.whole.cpu_seconds
    rows = [
        row(name, seconds, f"{parts.share(name):.0%}", parts.bound(name))
        for name, seconds in parts.stages.items()
    ]
    each = [seconds / parts.cores for seconds in cpu]
    rows += [
        row(f"CPU, each of {parts.cores}", each, "-", parts.cores_bound),
        row("all", whole.seconds, "100%", 1 / whole.per_frame),
        row("without overlay", bare.seconds, "-", 1 / bare.per_frame),
        row("codec alone", codec.seconds, "-", 1 / codec.per_frame),
    ]
    console.table(f"{frames} frames", ["", "ms/frame", "of the time", "frames/s"], rows)
    console.result(
        f"{1 / whole.per_frame:.3g} frames/s, {codec.median / whole.median:.0%} of decoding alone; "
        f"without overlay {1 / bare.per_frame:.3g}, {codec.median / bare.median:.0%}. Stages run "
        f"side by side; {parts.bottleneck} was busy for most of the time."
    )


def reconstruct(
    name: Named = None,
    model: OptionalModel = None,
    frames: Annotated[int, number("Frames of the clip to render.")] = 8,
    rounds: Rounds = 3,
    quick: Quick = False,
    compile_: Compile = False,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Time the decoder: one U-Net evaluation, and frames rendered with 20 of them.

    The images are compared with those of plain PyTorch.

    Examples:
      slotcli bench reconstruct tiny-64 --quick
    """
    reference = _reference(name, model)
    require_free(out, overwrite)
    console.phase("loading the model")
    from slotcli.bench.inference import bench_draw

    setting = _open(reference, device, threads, compiled=compile_)
    subject, on, variants = setting.subject, setting.device, setting.variants
    rounds = 1 if quick else rounds
    pieces = (1 if frames == 1 else 2) + (subject.spec.decoder.kind == "latent_diffusion")
    with console.progress("timing", "runs") as meter:
        tell = _teller(meter, pieces * len(variants) * (1 + rounds))
        found = bench_draw(subject, variants, on, frames=frames, rounds=rounds, tell=tell)
    _report("reconstruct", setting, found, out)


def train(
    name: Named = None,
    model: OptionalModel = None,
    batch: Batch = None,
    frames: ClipLength = None,
    rounds: Rounds = 3,
    quick: Quick = False,
    compile_: Compile = False,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Time a training step with the frozen codec and Adam, and show its memory.

    Also shown: its FLOP/s beside those of plain matrix products, and the time that steps wait for
    data.

    Examples:
      slotcli bench train tiny-64 --quick
    """
    reference = _reference(name, model)
    require_free(out, overwrite)
    console.phase("loading the model")
    from slotcli.bench.subject import Work
    from slotcli.bench.training import bench_train
    from slotcli.bench.training_step import count

    setting = _open(reference, device, threads, compiled=compile_)
    spec, on, variants = setting.subject.spec, setting.device, setting.variants
    work = Work(
        device=str(on),
        threads=setting.environment["threads"],
        batch=batch or (spec.train.batch_size if on.type == "cuda" else 1),
        clip_length=frames or spec.train.clip_length,
        rounds=1 if quick else rounds,
    )
    console.note(f"{len(variants)} variants train in one process, then each in its own.")
    console.phase("timing training steps")
    flops = count(spec, work.clip_length).step_flops * work.batch * work.clip_length
    found = bench_train(reference, work, variants, flops)
    reasons = found.steps.reasons | setting.reasons
    summary = _summary("train", setting) | {
        "batch": work.batch,
        "clip_length": work.clip_length,
        "step_flops": flops,
        "reasons": reasons,
        "arms": found.steps.arms(),
        "product_flops_per_second": found.product_flops,
        "data_wait": found.data_wait,
    }

    def show() -> None:
        _show([found.steps], setting, reasons)
        if found.data_wait is not None:
            console.result(f"Waiting for data: {found.data_wait:.1%} of the time of our steps.")

    publish(summary, out, show)
    if not found.steps.timings:
        raise LossError("Nothing could be measured.", "Use a smaller --batch, or another device.")


def _open(reference: str, device: str, threads: int | None, *, compiled: bool) -> _Setting:
    from slotcli.bench.forms import variants_here
    from slotcli.bench.subject import open_subject

    subject = open_subject(reference)
    chosen, environment = prepare(device, threads)
    return _Setting(subject, chosen, environment, *variants_here(chosen, compiled=compiled))


def _report(
    verb: str, setting: _Setting, comparisons: "list[Comparison]", out: Path | None
) -> None:
    failures = {
        f"{comparison.name}, {variant}": why
        for comparison in comparisons
        for variant, why in comparison.reasons.items()
    }
    summary = _summary(verb, setting) | {
        "work": [comparison.as_dict() for comparison in comparisons]
    }
    publish(summary, out, lambda: _show(comparisons, setting, failures | setting.reasons))


def _summary(verb: str, setting: _Setting) -> dict[str, Any]:
    subject = setting.subject
    return {
        "schema": f"slotcli.bench.{verb}/1",
        "environment": setting.environment,
        "model": {"name": subject.spec.name, "weights_sha256": subject.sha256},
        "reasons": setting.reasons,
    }


def _show(comparisons: "list[Comparison]", setting: _Setting, reasons: dict[str, str]) -> None:
    """Prints a table for each piece of work, and the reasons of missing measurements."""
    subject = setting.subject
    weights = "random weights" if subject.sha256 is None else f"weights {subject.sha256[:16]}"
    console.result(
        f"{headline(setting.environment)}; {subject.spec.name}, {weights}, frames of noise."
    )
    for comparison in comparisons:
        known = {name for figures in comparison.figures.values() for name in figures}
        shown = {name: how for name, how in _FIGURES.items() if name in known}
        columns = ["", "cost, s", "clock, s", *(title for title, _, _ in shown.values())]
        console.table(
            comparison.name,
            columns,
            [_row(comparison, variant, shown) for variant in comparison.timings],
        )
    by_reason: dict[str, list[str]] = {}
    for name, why in reasons.items():
        by_reason.setdefault(why, []).append(name)
    for why, names in by_reason.items():
        console.note(f"Not measured: {', '.join(names)}: {why}")
    console.result(f"Median (range). {COSTS} Errors and PSNR are against plain fp32.")


def _row(
    comparison: "Comparison", variant: "Variant", shown: dict[str, tuple[str, str, float]]
) -> list[str]:
    timing, row = comparison.timings[variant], [variant.name]
    row += [cost(timing), spread(timing.median, timing.seconds)]
    for name, (_, form, unit) in shown.items():
        value = comparison.figures[variant][name]
        row.append("-" if value is None else form.format(value / unit))
    return row


def _teller(meter: "console.Meter", total: int) -> "Tell":
    done = 0

    def tell(what: str) -> None:
        nonlocal done
        done += 1
        meter.update(done, total, what)

    return tell
