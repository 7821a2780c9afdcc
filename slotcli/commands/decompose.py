"""slotcli decompose: videos to mask tracks, slots, an overlay and a report."""

from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slotcli.commands import console, setup
from slotcli.commands.decompose_outcomes import Count, finish, summarise, tell
from slotcli.commands.dry_run import show_plan
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
    Opacity,
    Overwrite,
    Page,
    Precision,
    Threads,
    parse_choices,
)
from slotcli.commands.skipped import report_skipped
from slotcli.errors import SlotcliError, UsageError

if TYPE_CHECKING:
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
            help="Fraction of damaged frames above which a clip counts as degraded.",
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
            help="For models of any shape: size of the model's input, as N for the area of N x N "
            "pixels, or exactly as 96x160 (height x width). Default: the model's.",
            metavar="N|HxW",
            rich_help_panel=MODEL,
        ),
    ] = None,
    reset: Annotated[
        str,
        typer.Option(
            help="When slots are initialised again: never, at every cut (scene), or every:N "
            "frames.",
            metavar="RULE",
            rich_help_panel=MODEL,
        ),
    ] = "never",
    slots: Annotated[
        int | None,
        typer.Option(
            help="Number of slots, for models that sample them. Default: the model's.",
            min=2,
            max=64,
            metavar="N",
            rich_help_panel=MODEL,
        ),
    ] = None,
    slot_seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the initial slots, for models that sample them. Default: 0.",
            min=0,
            metavar="N",
            rich_help_panel=MODEL,
        ),
    ] = None,
    cyclic: Annotated[
        bool,
        typer.Option(
            "--cyclic",
            help="Scan each clip to its end and back, as SlotCurri does; needs memory for all of "
            "it.",
            rich_help_panel=MODEL,
        ),
    ] = False,
    start_from: Annotated[
        str | None,
        typer.Option(
            help="Start from the corrected masks of a frame, forwards and backwards: a PNG, coco "
            "or npz file of masks and the frame, from 0. IDs in it are those of the result.",
            metavar="MASKS@FRAME",
            rich_help_panel=MODEL,
        ),
    ] = None,
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
            help="Connected components of a mask below this area are merged into their "
            "surroundings: a fraction of the frame as 0.001, or pixels as 50.",
            min=0,
            metavar="AREA",
            rich_help_panel=OUTPUT,
        ),
    ] = 0.0,
    largest_component: Annotated[
        bool,
        typer.Option(
            "--largest-component",
            help="Keep the largest connected component of each object in a frame; merge the "
            "others into their surroundings.",
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
    opacity: Opacity = None,
    page: Page = None,
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
            help="Clips per batch of the encoder. Default: 8 on a GPU, 1 on a CPU.",
            min=1,
            metavar="N",
            rich_help_panel=COMPUTING,
        ),
    ] = None,
    chunk: Annotated[
        int,
        typer.Option(
            help="Frames of a clip per pass of the encoder; results do not depend on it.",
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
      slotcli decompose clip.mp4 -o mended --start-from corrected.png@12
      slotcli decompose 'takes/*.mov' --start 10 --end 20 --dry-run
      ffmpeg -i in.mxf -f matroska - | slotcli decompose -
    """
    console.phase("starting")
    from slotcli.decomposition.batch import Outcome
    from slotcli.decomposition.option_words import given_options
    from slotcli.decomposition.plan import plan, select_shard
    from slotcli.decomposition.standard_input import SIGN, spool_standard_input
    from slotcli.decomposition.worker import Work

    if dry_run and SIGN in inputs:
        raise UsageError(
            f"--dry-run {SIGN}: a pipe can be read only once.",
            "Save the clip to a file first, or leave out --dry-run.",
        )
    if cyclic and SIGN in inputs:
        raise UsageError(
            f"--cyclic {SIGN}: a stream has no end to turn back from.",
            "Save the clip to a file first, or leave out --cyclic.",
        )
    options = given_options(
        masks=parse_choices("--masks", masks, MASK_FILES) or ["png"],
        frames=frames,
        overlay=overlay,
        opacity=opacity,
        page=page,
        background=background,
        edges=edges,
        min_area=min_area,
        largest_component=largest_component,
        fit=fit,
        size=size,
        reset=reset,
        slots=slots,
        slot_seed=slot_seed,
        cyclic=cyclic,
        start=start,
        end=end,
        stride=stride,
        max_frames=max_frames,
        start_from=start_from,
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
        together=together or (8 if place.type == "cuda" else 1),  # D6
    )
    console.phase("reading standard input" if SIGN in inputs else "looking for clips")
    with spool_standard_input(inputs, out) as sources:
        console.phase("looking for clips")
        planned = plan(sources, out, recursive=recursive)
        report_skipped(planned.passed_over)
        clips = planned.clips
        failed = [Outcome(clip, "failed", error=error) for clip, error in planned.failures]
        single = len(clips) + len(failed) == 1
        if start_from is not None and not single:
            raise UsageError(
                f"--start-from is for one clip, not for {len(clips) + len(failed)}.",
                "Name the clip that the masks are of.",
            )
        if shard is not None:
            clips = select_shard(clips, shard)
            failed = failed if shard.startswith("1/") else []
        if dry_run:
            show_plan(work, clips, failed)
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
                    summarise([*known, *left], out, shard)
            raise
        finish(known, out, shard, single=single)


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
            tell(chain(failed, run_on_ray(work, clips)), Count(meter, count), known)
        return
    console.phase("loading the model")
    loaded = work.load()
    console.note(f"Model {loaded.spec.name}, step {loaded.step}, from {loaded.path}.")
    single = count == 1
    name, unit = (clips[0].source.name, "frames") if single else ("clips", "clips")
    with console.progress(f"decoding {name}", unit) as meter:
        counted = Count(meter, count)
        tell(chain(failed, work.run(loaded, clips, counted.frames)), counted, known)
