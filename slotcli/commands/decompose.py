"""slotcli decompose: videos to mask tracks, slots, an overlay and a report."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slotcli.commands import console, setup
from slotcli.commands.meters import Meter
from slotcli.commands.options import (
    COMPUTING,
    DEFAULT_MODEL,
    INPUT,
    MANY,
    MASK_FILES,
    MODEL,
    OUTPUT,
    PART,
    Device,
    Edges,
    Frames,
    Kernels,
    Masks,
    Model,
    Overwrite,
    Precision,
    Threads,
    chosen,
)
from slotcli.commands.passed_over import tell_passed_over
from slotcli.errors import LossError, SlotcliError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slotcli.decomposition.batch import Outcome
    from slotcli.decomposition.plan import PlannedClip
    from slotcli.decomposition.worker import Work


def decompose(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Videos, image folders, folders of them, quoted glob patterns; - for a pipe.",
        ),
    ],
    recursive: Annotated[
        bool,
        typer.Option("--recursive", "-r", help="Search sub-folders too.", rich_help_panel=INPUT),
    ] = False,
    max_pixels: Annotated[
        int,
        typer.Option(
            help="Refuse a source whose frames have more pixels.",
            min=1,
            metavar="N",
            rich_help_panel=INPUT,
        ),
    ] = 8192 * 8192,
    max_bad: Annotated[
        float,
        typer.Option(
            help="Share of damaged frames above which a clip is degraded.",
            min=0,
            max=1,
            metavar="SHARE",
            rich_help_panel=INPUT,
        ),
    ] = 0.02,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse a clip if any frame was lost or repaired.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    model: Model = DEFAULT_MODEL,
    fit: Annotated[
        Literal["keep", "squeeze", "crop"] | None,
        typer.Option(
            help="Keep the aspect ratio of frames, squeeze them to the model's, or crop their "
            "centre. Default: keep for models of any shape, else squeeze.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="For models of any shape: what the model sees, as the area of a square of N x N "
            "pixels, or exactly as 96x160 (height x width). Default: the model's.",
            metavar="N|HxW",
            rich_help_panel=MODEL,
        ),
    ] = None,
    reset: Annotated[
        str,
        typer.Option(
            help="When slots start afresh: never, at every cut (scene), or every:N frames.",
            metavar="RULE",
            rich_help_panel=MODEL,
        ),
    ] = "never",
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder for results: one sub-folder per clip.",
            metavar="FOLDER",
            rich_help_panel=OUTPUT,
        ),
    ] = Path("slotcli-out"),
    overwrite: Overwrite = False,
    masks: Masks = None,
    background: Annotated[
        str,
        typer.Option(
            help="The object that becomes the background, ID 0: auto, none, its ID, or several "
            "as 1,4.",
            metavar="SLOT",
            rich_help_panel=OUTPUT,
        ),
    ] = "auto",
    frames: Frames = False,
    edges: Edges = None,
    min_area: Annotated[
        float,
        typer.Option(
            help="Pieces of a mask below this area join what is around them: a share of the frame "
            "as 0.001, or pixels as 50.",
            min=0,
            metavar="AREA",
            rich_help_panel=OUTPUT,
        ),
    ] = 0.0,
    largest_component: Annotated[
        bool,
        typer.Option(
            "--largest-component",
            help="Keep the largest piece of each object in a frame; others join what is around "
            "them.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    overlay: Annotated[
        bool,
        typer.Option(
            "--overlay/--no-overlay",
            help="Write overlay.mp4, the clip with its masks in colour.",
            rich_help_panel=OUTPUT,
        ),
    ] = True,
    start: Annotated[
        float,
        typer.Option(help="Begin at this second.", min=0, metavar="SECONDS", rich_help_panel=PART),
    ] = 0.0,
    end: Annotated[
        float | None,
        typer.Option(
            help="Stop before this second.", min=0, metavar="SECONDS", rich_help_panel=PART
        ),
    ] = None,
    stride: Annotated[
        int,
        typer.Option(help="Use every N-th frame.", min=1, metavar="N", rich_help_panel=PART),
    ] = 1,
    max_frames: Annotated[
        int | None,
        typer.Option(help="Stop after N frames.", min=1, metavar="N", rich_help_panel=PART),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="List the clips with estimates of time and disk space; compute nothing.",
            rich_help_panel=MANY,
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Part I of N of the clips, for N machines: 1/4, 2/4, ...",
            metavar="I/N",
            rich_help_panel=MANY,
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(
            help="Compute in this process, or on the workers of a Ray cluster.",
            rich_help_panel=MANY,
        ),
    ] = "local",
    together: Annotated[
        int | None,
        typer.Option(
            help="Clips that the model encodes at once. Default: 8 on a GPU, 1 on a CPU.",
            min=1,
            metavar="N",
            rich_help_panel=COMPUTING,
        ),
    ] = None,
    chunk: Annotated[
        int,
        typer.Option(
            help="Frames of a clip that the model encodes at once.",
            min=1,
            metavar="N",
            rich_help_panel=COMPUTING,
        ),
    ] = 16,
    device: Device = "auto",
    threads: Threads = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="Precision of the backbone. auto is fp32; bf16 moves mask borders slightly.",
            rich_help_panel=COMPUTING,
        ),
    ] = "auto",
    kernels: Kernels = "auto",
) -> None:
    """Find the objects in videos: mask tracks, slots, an overlay and a report per clip.

    A stopped run resumes when you repeat its command. Several runs can share one output folder:
    each clip is computed by one of them.

    Examples:
      slotcli decompose samples/tier-a.mp4
      slotcli decompose footage -r -o results --masks png,coco
      slotcli decompose 'takes/*.mov' --start 10 --end 20 --dry-run
      ffmpeg -i in.mxf -f matroska - | slotcli decompose -
    """
    console.phase("starting")
    from slotcli.decomposition.batch import Outcome
    from slotcli.decomposition.option_words import given_options
    from slotcli.decomposition.plan import plan, sharded
    from slotcli.decomposition.standard_input import SIGN, spooled
    from slotcli.decomposition.worker import Work

    if dry_run and SIGN in inputs:
        raise UsageError(
            f"--dry-run {SIGN}: a pipe can be read only once.",
            "Save the clip to a file first, or leave out --dry-run.",
        )
    options = given_options(
        masks=chosen("--masks", masks, MASK_FILES) or ["png"],
        frames=frames,
        overlay=overlay,
        background=background,
        edges=edges,
        min_area=min_area,
        largest_component=largest_component,
        fit=fit,
        size=size,
        reset=reset,
        start=start,
        end=end,
        stride=stride,
        max_frames=max_frames,
        max_bad=max_bad,
        strict=strict,
        max_pixels=max_pixels,
        chunk=chunk,
        overwrite=overwrite,
    )
    place = setup.choose_device(device)
    work = Work(
        model=model,
        options=options,
        device=str(place),
        threads=setup.set_threads(threads, model),
        kernels=kernels,
        halved=precision == "bf16",
        together=together or (8 if place.type == "cuda" else 1),
    )
    console.phase("reading standard input" if SIGN in inputs else "looking for clips")
    with spooled(inputs, out) as sources:
        console.phase("looking for clips")
        planned = plan(sources, out, recursive=recursive)
        tell_passed_over(planned.passed_over)
        clips = planned.clips
        failed = [Outcome(clip, "failed", error=error) for clip, error in planned.failures]
        single = len(clips) + len(failed) == 1
        if shard is not None:
            clips = sharded(clips, shard)
            failed = failed if shard.startswith("1/") else []
        if dry_run:
            _show_plan(work, clips, failed)
            return
        console.keeps_finished(anew_with="--overwrite" if overwrite else "")
        known: list[Outcome] = []
        try:
            _run(work, clips, engine, failed, known)
        except BaseException:
            if known and not single:
                done = {outcome.clip for outcome in known}
                left = [Outcome(clip, "unfinished") for clip in clips if clip not in done]
                with suppress(SlotcliError):  # the first exception is the one to report
                    _summarise([*known, *left], out, shard)
            raise
        _finish(known, out, shard, single=single)


def _run(
    work: "Work",
    clips: "list[PlannedClip]",
    engine: Literal["local", "ray"],
    failed: "list[Outcome]",
    known: "list[Outcome]",
) -> None:
    """Adds each outcome to `known`, those of `failed` first."""
    count = len(clips) + len(failed)
    if engine == "ray":
        from slotcli.decomposition.ray_engine import run_on_ray

        console.note(f"{len(clips)} clips for the workers of a Ray cluster.")
        with console.progress("waiting for the workers", "clips") as meter:
            _tell(chain(failed, run_on_ray(work, clips)), _Count(meter, count), known)
        return
    console.phase("loading the model")
    loaded = work.load()
    console.note(f"Model {loaded.spec.name}, step {loaded.step}, from {loaded.path}.")
    single = count == 1
    name, unit = (clips[0].source.name, "frames") if single else ("clips", "clips")
    with console.progress(f"decoding {name}", unit) as meter:
        counted = _Count(meter, count)
        _tell(chain(failed, work.run(loaded, clips, counted.frames)), counted, known)


@dataclass
class _Count:
    """Counts the frames of a single clip, or the clips of a batch with the current one's frames."""

    meter: Meter
    clips: int
    ended: int = 0

    def frames(self, clip: "PlannedClip", frames: int, expected: int | None) -> None:
        """As `runs.batch.Progress`."""
        if self.clips > 1:
            self.meter.update(self.ended, self.clips, f"{clip.source.name}: {frames} frames")
            return
        self.meter.update(frames, expected)
        if frames == expected:
            self.meter.phase("drawing the report")

    def end_one(self, clip: "PlannedClip") -> None:
        """Counts a clip whose outcome is known."""
        self.ended += 1
        if self.clips > 1:
            self.meter.update(self.ended, self.clips, clip.source.name)
        else:
            console.end_progress()


def _tell(outcomes: "Iterator[Outcome]", count: _Count, known: "list[Outcome]") -> None:
    """Reports each clip's outcome as soon as it is known, and adds it to `known`."""
    from slotcli.decomposition.standard_input import name_standard_input

    for outcome in outcomes:
        known.append(outcome)
        result, error = outcome.result, outcome.error
        count.end_one(outcome.clip)
        if error is not None and count.clips > 1:
            name_standard_input(error, outcome.clip.source)
            console.cause(error)
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


def _finish(outcomes: "list[Outcome]", out: Path, shard: str | None, *, single: bool) -> None:
    """Prints the summary of a batch, and sets the exit code."""
    if single and outcomes[0].error is not None:
        raise outcomes[0].error
    if not single:
        _summarise(outcomes, out, shard)
    counts = Counter(outcome.status for outcome in outcomes)
    if counts["busy"]:
        console.note(f"{counts['busy']} clips were left to other runs that are computing them.")
    _say_what_to_open(outcomes, out, shard, single=single)
    if counts["failed"] or counts["degraded"]:
        raise LossError(
            f"{counts['failed']} of {len(outcomes)} clips failed, {counts['degraded']} lost more "
            "than allowed.",
            "The rest is written; result.json and summary.csv list what was lost.",
        )


def _say_what_to_open(
    outcomes: "list[Outcome]", out: Path, shard: str | None, *, single: bool
) -> None:
    from slotcli.files.layout import PAGE

    results = [own.clip.result for own in outcomes if own.status in ("ok", "degraded", "done")]
    if single or (shard is not None and len(results) == 1):
        pages = [folder / PAGE for folder in results]
    else:
        pages = [out / "index.html"] if shard is None else [out]
    for page in pages:
        if page.exists():
            console.note(f"Open {page}")


def _summarise(outcomes: "list[Outcome]", out: Path, shard: str | None) -> None:
    from slotcli.decomposition.summary import write_summary

    if out.is_dir():
        name = "summary" if shard is None else f"summary-{shard.replace('/', '-of-')}"
        write_summary(out, outcomes, name)


def _show_plan(work: "Work", clips: "list[PlannedClip]", failed: "list[Outcome]") -> None:
    import torch

    from slotcli.decomposition.estimate import Estimate, estimated, free_for

    console.phase("timing the model")
    found = estimated(clips, work.load(), work.options, torch.device(work.device))
    found += [
        Estimate(outcome.clip, None, None, None, None, outcome.error.what)
        for outcome in failed
        if outcome.error is not None
    ]
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
            "?" if one.seconds is None else _duration(one.seconds),
            "?" if one.bytes is None else f"{one.bytes / 2**20:.1f} MiB",
            one.remark,
        ]
        for one in found
    ]
    columns = ["clip", "result", "frames", "size", "time", "disk", ""]
    console.table("", columns, rows)
    seconds, size = (sum(one.seconds or 0 for one in found), sum(one.bytes or 0 for one in found))
    spans = [one.span for one in found if one.span is not None]
    low, high = (_duration(sum(part)) for part in zip(*spans, strict=True)) if spans else ("?", "?")
    console.result(
        f"{len(clips)} clip{'s' * (len(clips) != 1)}: about {_duration(seconds)} on the model "
        f"({low} to {high} in a trial just now), {size / 2**20:.0f} MiB; "
        f"{free_for(clips) / 2**20:.0f} MiB are free."
    )
    console.result("Estimates. Decoding and writing run beside the model and can take longer.")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
