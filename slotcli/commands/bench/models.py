"""slotcli bench decompose, reconstruct and train: whole models beside plain PyTorch."""

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcli.commands import console
from slotcli.commands.bench.record import (
    COSTS,
    MEASUREMENT,
    Batch,
    ClipLength,
    Compile,
    Out,
    Quick,
    Rounds,
    cost,
    finish,
    headline,
    prepare,
    require_free,
    say_written,
    spread,
)
from slotcli.commands.options import Device, OptionalModel, Overwrite, Threads
from slotcli.errors import LossError, UsageError

if TYPE_CHECKING:
    from slotcli.bench.forms import Arm
    from slotcli.bench.models import Comparison, Subject, Tell

_MODEL = "slotdiffusion-movi-d"
Named = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help=f"The model, if not given as --model. Default: {_MODEL}.",
    ),
]
_COLUMNS = ["", "cost, s", "clock, s", "frames/s", "x plain fp32", "x plain same"]
_FIGURES = {
    "slots_error": "{:.0e}",
    "mask_pixels_changed": "{:.2%}",
    "prediction_error": "{:.0e}",
    "psnr_db": "{:.1f}",
}


def decompose(
    name: Named = None,
    model: OptionalModel = None,
    clip: Annotated[
        Path | None,
        typer.Option(
            help="Time decompose end to end on this video file, not the model alone.",
            metavar="FILE",
            rich_help_panel=MEASUREMENT,
        ),
    ] = None,
    frames: Annotated[
        int,
        typer.Option(
            help="Frames of the clip of noise.", min=1, metavar="N", rich_help_panel=MEASUREMENT
        ),
    ] = 24,
    rounds: Rounds = 5,
    quick: Quick = False,
    compile_: Compile = False,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Time the encoding of a clip, and show what half precision changes.

    With --clip: frames per second end to end, and the shares of decoding, model and writing.

    Examples:
      slotcli bench decompose tiny-64 --quick
      slotcli bench decompose tiny-64 --clip samples/tier-a.mp4
    """
    reference = _reference(name, model)
    require_free(out, overwrite)
    console.phase("loading the model")
    if clip is not None:
        _from_file_to_result(clip, reference, 1 if quick else rounds, out, device, threads)
        say_written(out)
        return
    from slotcli.bench.forms import arms_here
    from slotcli.bench.models import bench_encode, open_subject

    subject = open_subject(reference)
    chosen, environment = prepare(device, threads)
    arms, reasons = arms_here(chosen, compiled=compile_)
    rounds = 1 if quick else rounds
    with console.progress("timing", "runs") as meter:
        tell = _teller(meter, len(arms) * (1 + rounds))
        found = bench_encode(subject, arms, chosen, frames=frames, rounds=rounds, tell=tell)
    _report("decompose", environment, subject, [found], reasons, out)
    say_written(out)


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
        tell = _teller(meter, 1 + 2 * rounds)
        found = bench_clip(clip, loaded, chosen, rounds=rounds, tell=tell)
    named = {"name": loaded.spec.name, "weights_sha256": loaded.sha256}
    summary = {"schema": "slotcli.bench.decompose/1", "environment": environment, "model": named}
    finish(summary | {"end_to_end": found.as_dict()}, out)
    if console.wants_json():
        return
    height, width = found.size
    console.result(f"{headline(environment)}; {loaded.spec.name}, {found.clip}, {width}x{height}.")
    frames, codec = found.whole.frames, found.codec
    rows = [
        [stage, spread(median(busy), busy, frames / 1e3), f"{found.share(stage):.0%}"]
        for stage, busy in found.stages.items()
    ]
    whole = found.whole
    rows.append(["all", spread(whole.median, whole.seconds, frames / 1e3), "100%"])
    rows.append(["codec alone", spread(codec.median, codec.seconds, frames / 1e3), "-"])
    console.table(f"{frames} frames", ["", "ms/frame", "of the time"], rows)
    console.result(
        f"{1 / whole.per_frame:.3g} frames/s; {found.bottleneck} was busy for most of the time. "
        "All stages run side by side."
    )


def reconstruct(
    name: Named = None,
    model: OptionalModel = None,
    frames: Annotated[
        int,
        typer.Option(
            help="Frames of the clip to render.",
            min=1,
            metavar="N",
            rich_help_panel=MEASUREMENT,
        ),
    ] = 8,
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
    from slotcli.bench.forms import arms_here
    from slotcli.bench.models import bench_draw, open_subject

    subject = open_subject(reference)
    chosen, environment = prepare(device, threads)
    arms, reasons = arms_here(chosen, compiled=compile_)
    rounds = 1 if quick else rounds
    pieces = (1 if frames == 1 else 2) + (subject.spec.decoder.kind == "latent_diffusion")
    with console.progress("timing", "runs") as meter:
        tell = _teller(meter, pieces * len(arms) * (1 + rounds))
        found = bench_draw(subject, arms, chosen, frames=frames, rounds=rounds, tell=tell)
    _report("reconstruct", environment, subject, found, reasons, out)
    say_written(out)


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
    from slotcli.bench.complexity import count
    from slotcli.bench.forms import arms_here
    from slotcli.bench.models import open_subject
    from slotcli.bench.training import TrainWork, bench_train

    subject = open_subject(reference)
    spec = subject.spec
    chosen, environment = prepare(device, threads)
    arms, reasons = arms_here(chosen, compiled=compile_)
    work = TrainWork(
        reference=reference,
        device=str(chosen),
        threads=environment["threads"],
        arms=tuple(arms),
        batch=batch or (spec.train.batch_size if chosen.type == "cuda" else 1),
        clip_length=frames or spec.train.clip_length,
        rounds=1 if quick else rounds,
    )
    console.note(f"{len(arms)} variants train in one process, then each in its own.")
    console.phase("timing training steps")
    found = bench_train(work)
    flops = count(spec, work.clip_length).step_flops * work.batch * work.clip_length
    values = found.as_dict(work.batch, flops)
    summary = _summary("train", environment, subject, values["reasons"] | reasons) | {
        "batch": work.batch,
        "clip_length": work.clip_length,
        "step_flops": flops,
        **{name: values[name] for name in ("arms", "product_flops_per_second", "data_wait")},
    }
    finish(summary, out)
    if not console.wants_json():
        columns = ["", "cost, s", "clock, s", "clips/s", "GFLOP/s", "of products"]
        columns += ["x plain fp32", "memory", "loss_error"]
        rows = [
            [
                arm.name,
                cost(timing),
                spread(timing.median, timing.seconds),
                f"{own['samples_per_second']:.3g}",
                f"{own['flops_per_second'] / 1e9:.0f}",
                f"{own['utilisation']:.0%}",
                f"{own['to_plain_fp32']:.2f}",
                "-" if own["peak_bytes"] is None else f"{own['peak_bytes'] / 2**30:.2f} GiB",
                f"{own['loss_error']:.0e}",
            ]
            for arm, timing in found.timings.items()
            for own in [values["arms"][arm.name]]
        ]
        _headline(environment, subject)
        name = f"a step of {work.batch} x {work.clip_length} frames"
        console.table(name, columns, rows)
        if found.data_wait is not None:
            console.result(f"Waiting for data: {found.data_wait:.1%} of the time of our steps.")
        _explain(found.reasons | reasons)
    say_written(out)
    if not found.timings:
        raise LossError("Nothing could be measured.", "Use a smaller --batch, or another device.")


def _report(
    verb: str,
    environment: dict[str, Any],
    subject: "Subject",
    found: "list[Comparison]",
    reasons: dict[str, str],
    out: Path | None,
) -> None:
    failures = {f"{own.name}, {arm}": why for own in found for arm, why in own.reasons.items()}
    summary = _summary(verb, environment, subject, reasons)
    finish(summary | {"work": [own.as_dict() for own in found]}, out)
    if console.wants_json():
        return
    _headline(environment, subject)
    for own in found:
        names = list(dict.fromkeys(name for each in own.figures.values() for name in each))
        rows = [_row(own, arm, names) for arm in own.timings]
        console.table(own.name, [*_COLUMNS, *names], rows)
    _explain(failures | reasons)


def _row(found: "Comparison", arm: "Arm", figures: list[str]) -> list[str]:
    from slotcli.bench.forms import BASELINE, Arm

    timing = found.timings[arm]
    ratios = [found.ratio(arm, own) for own in (BASELINE, Arm("plain", arm.precision))]
    return [
        arm.name,
        cost(timing),
        spread(timing.median, timing.seconds),
        f"{1 / timing.per_frame:.3g}",
        *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        *(_FIGURES[name].format(found.figures[arm][name]) for name in figures),
    ]


def _summary(
    verb: str, environment: dict[str, Any], subject: "Subject", reasons: dict[str, str]
) -> dict[str, Any]:
    return {
        "schema": f"slotcli.bench.{verb}/1",
        "environment": environment,
        "model": {"name": subject.spec.name, "weights_sha256": subject.sha256},
        "reasons": reasons,
    }


def _headline(environment: dict[str, Any], subject: "Subject") -> None:
    weights = "random weights" if subject.sha256 is None else f"weights {subject.sha256[:16]}"
    console.result(f"{headline(environment)}; {subject.spec.name}, {weights}, frames of noise.")


def _explain(reasons: dict[str, str]) -> None:
    """Prints the reasons of missing measurements, and the meaning of the figures."""
    by_reason: dict[str, list[str]] = {}
    for name, why in reasons.items():
        by_reason.setdefault(why, []).append(name)
    for why, names in by_reason.items():
        console.note(f"Not measured: {', '.join(names)}: {why}")
    console.result(f"Median (range). {COSTS} Errors and PSNR are against plain fp32.")


def _teller(meter: "console.Meter", total: int) -> "Tell":
    done = 0

    def tell(what: str) -> None:
        nonlocal done
        done += 1
        meter.update(done, total, what)

    return tell
