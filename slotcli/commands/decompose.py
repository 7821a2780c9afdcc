"""slotcli decompose: videos to mask tracks, slots, overlay and report. The main job."""

from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
from slotcli.errors import LossError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slotcli.runs.batch import Outcome, Progress
    from slotcli.runs.plan import PlannedClip
    from slotcli.runs.worker import Work


def decompose(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Video files, folders, image folders, glob patterns; - for a pipe."),
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
        str, typer.Option(help="What gets ID 0: auto, none, or the ID of an object.")
    ] = "auto",
    fit: Annotated[
        Literal["squeeze", "crop"],
        typer.Option(help="Squeeze the frame to the model's shape, or crop its centre."),
    ] = "squeeze",
    start: Annotated[float, typer.Option(help="Begin at this second.", min=0)] = 0.0,
    end: Annotated[float | None, typer.Option(help="Stop before this second.", min=0)] = None,
    stride: Annotated[int, typer.Option(help="Use every so manieth frame.", min=1)] = 1,
    max_frames: Annotated[
        int | None, typer.Option(help="Stop after so many frames.", min=1)
    ] = None,
    reset: Annotated[
        str, typer.Option(help="Find slots anew: never, at each cut (scene), or every:N frames.")
    ] = "never",
    overlay: Annotated[
        bool, typer.Option(help="Draw overlay.mp4: the masks over the clip, to look at.")
    ] = True,
    overwrite: Annotated[bool, typer.Option(help="Replace results that exist.")] = False,
    max_bad: Annotated[
        float, typer.Option(help="Share of damaged frames above which a clip is degraded.")
    ] = 0.02,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse clips of which anything was lost or repaired.")
    ] = False,
    max_pixels: Annotated[
        int, typer.Option(help="Refuse sources with more pixels in a frame.", min=1)
    ] = 8192 * 8192,
    chunk: Annotated[int, typer.Option(help="Frames on the model at once.", min=1)] = 16,
    together: Annotated[
        int | None,
        typer.Option(help="Clips on the model at once: 8 on a GPU, 1 on a CPU.", min=1),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="i/n: only every n-th clip, from the i-th on.")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="This process, or the workers of a Ray cluster.")
    ] = "local",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, and what it takes.")
    ] = False,
    precision: Annotated[
        Precision, typer.Option(help="Of the backbone. auto is fp32: bf16 moves masks' borders.")
    ] = "auto",
    kernels: Kernels = "auto",
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Find the objects of videos: mask tracks, slots, an overlay and a report for each clip.

    A run that was stopped goes on when the same command is given again. Several runs on one
    output folder share the work: none begins a clip that another one is at.
    """
    from slotcli.runs.clip_encoder import Reset
    from slotcli.runs.plan import plan, sharded
    from slotcli.runs.request import DecomposeOptions
    from slotcli.runs.standard_input import SIGN, spooled
    from slotcli.runs.worker import Work
    from slotcli.tracks.formats.all_formats import MaskFormat
    from slotcli.video.selection import Selection

    if end is not None and end <= start:
        raise UsageError(f"--end {end} is not after --start {start}.", "Choose a later end.")
    if dry_run and SIGN in inputs:
        raise UsageError(
            f"--dry-run {SIGN}: a pipe can be read but once.", "Leave it out, or save to a file."
        )
    formats: tuple[MaskFormat, ...] = tuple(
        name.value for name in masks or [MaskFile.png] if name != MaskFile.none
    )
    options = DecomposeOptions(
        masks=formats,
        overlay=overlay,
        background=_background(background),
        fit=fit,
        chunk=chunk,
        selection=Selection(start, end, stride, max_frames),
        reset=Reset.parse(reset),
        max_bad=max_bad,
        strict=strict,
        max_pixels=max_pixels,
        overwrite=overwrite,
    )
    chosen = setup.choose_device(device)
    work = Work(
        model=model,
        options=options,
        device=str(chosen),
        threads=setup.set_threads(threads, model),
        kernels=kernels,
        halved=precision == "bf16",
        together=together or (8 if chosen.type == "cuda" else 1),
    )
    with spooled(inputs, out) as sources:
        clips = plan(sources, out, recursive=recursive)
        single = len(clips) == 1
        if shard is not None:
            clips = sharded(clips, shard)
        if dry_run:
            _show_plan(work, clips)
        else:
            _finish(_run(work, clips, engine), out, shard, single=single)


def _run(
    work: "Work", clips: "list[PlannedClip]", engine: Literal["local", "ray"]
) -> "list[Outcome]":
    if engine == "ray":
        from slotcli.runs.ray_engine import run_on_ray

        console.note(f"{len(clips)} clips for the workers of a Ray cluster.")
        return _told(run_on_ray(work, clips), len(clips))
    loaded = work.load()
    console.note(f"Model {loaded.spec.name}, step {loaded.step}, from {loaded.path}.")
    with _meter(clips) as progress:
        return _told(work.run(loaded, clips, progress), len(clips))


@contextmanager
def _meter(clips: "list[PlannedClip]") -> "Iterator[Progress]":
    """Frames of a single clip, or clips of a batch with the frames of the one at work."""
    single = len(clips) == 1
    with console.progress(clips[0].source.name if single else "clips") as meter:
        shares: dict[Path, float] = {}

        def told(clip: "PlannedClip", frames: int, expected: int | None) -> None:
            if single:
                meter.update(frames, expected)
                return
            shares[clip.result] = min(1.0, frames / expected) if expected else 0.0
            meter.update(int(sum(shares.values())), len(clips), f"{clip.source.name}: {frames}")

        yield told


def _told(outcomes: "Iterator[Outcome]", count: int) -> "list[Outcome]":
    """Says what became of each clip as soon as it is known."""
    known = []
    for outcome in outcomes:
        known.append(outcome)
        result, error = outcome.result, outcome.error
        if error is not None and count > 1:
            console.error(error.what, error.advice)
        for warning in result.warnings if result else ():
            console.warn(f"{outcome.clip.source.name}: {warning}")
        console.record(outcome.as_dict())
        if result is None:
            if error is None:
                console.note(f"{outcome.clip.result}: done already.")
        elif not console.wants_json():
            rate = result.frames / max(result.seconds, 1e-9)
            resumed = f", {result.resumed} of them from before" if result.resumed else ""
            console.result(f"{result.folder}: {result.frames} frames{resumed}, {rate:.1f} a second")
    return known


def _finish(outcomes: "list[Outcome]", out: Path, shard: str | None, *, single: bool) -> None:
    """The summary of a batch, and the exit code."""
    from slotcli.runs.summary import write_summary

    if single and outcomes[0].error is not None:
        raise outcomes[0].error
    if not single and out.is_dir():
        name = "summary" if shard is None else f"summary-{shard.replace('/', '-of-')}"
        write_summary(out, outcomes, name)
    counts = Counter(outcome.status for outcome in outcomes)
    if counts["busy"]:
        console.note(f"{counts['busy']} clips are left to the other runs that are at them.")
    if counts["failed"] or counts["degraded"]:
        raise LossError(
            f"{counts['failed']} of {len(outcomes)} clips failed, {counts['degraded']} lost more "
            "than allowed.",
            "What could be had is there; each clip's result.json says what was lost.",
        )


def _show_plan(work: "Work", clips: "list[PlannedClip]") -> None:
    import torch

    from slotcli.runs.estimate import estimated, free_for

    found = estimated(clips, work.load(), work.options, torch.device(work.device))
    for one in found:
        console.record(one.as_dict())
    if console.wants_json():
        return
    rows = [
        [
            str(one.clip.source),
            str(one.clip.result),
            "?" if one.frames is None else str(one.frames),
            "?" if one.size is None else f"{one.size[1]} x {one.size[0]}",
            "?" if one.seconds is None else f"{one.seconds:.0f} s",
            "?" if one.bytes is None else f"{one.bytes / 2**20:.1f} MiB",
            one.remark,
        ]
        for one in found
    ]
    columns = ["clip", "result", "frames", "size", "model's time", "disk", ""]
    console.table("", columns, rows)
    seconds, size = (sum(one.seconds or 0 for one in found), sum(one.bytes or 0 for one in found))
    console.result(
        f"{len(clips)} clips: about {seconds / 60:.1f} min on the model, {size / 2**20:.0f} MiB; "
        f"{free_for(clips) / 2**20:.0f} MiB are free. Estimates, from a trial on noise."
    )


def _background(text: str) -> int | Literal["auto", "none"]:
    if text == "auto" or text == "none":
        return text
    try:
        return int(text) - 1  # the slot of an ID
    except ValueError:
        raise UsageError(
            f"--background {text}: not an ID.", "Use auto, none, or an object's ID: 1, 2, ..."
        ) from None
