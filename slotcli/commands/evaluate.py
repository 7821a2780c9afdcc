"""slotcli evaluate: a slot model's scores beside those of trivial baselines."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slotcli.commands import console, setup
from slotcli.commands.audit import load_slot_model, show_audit
from slotcli.commands.options import INPUT, OUTPUT, Device, OptionalModel, Overwrite, Threads
from slotcli.commands.outlined_results import evaluate_outlines
from slotcli.commands.score_tables import show_evaluation, show_protocol
from slotcli.commands.skipped import report_skipped
from slotcli.data.kinds import LabelledKind
from slotcli.errors import CannotCreateError, UnavailableError, UsageError

if TYPE_CHECKING:
    import torch

    from slotcli.evaluation.model_scores import ClipScores
    from slotcli.evaluation.perceptual import Lpips

FEW_CLIPS = 16
FRAMES = 24
SCORES = "Scores"


def evaluate(
    model: OptionalModel = None,
    data: Annotated[
        str,
        typer.Option(
            help="synth:TIER (rendered scenes), or a folder of clips with true masks.",
            metavar="DATA",
            rich_help_panel=INPUT,
        ),
    ] = "synth:C",
    results: Annotated[
        list[Path] | None,
        typer.Option(
            help="Score results of decompose, instead of a model, against --outlines: a result, or "
            "a folder of them. Repeatable.",
            metavar="FOLDER",
            rich_help_panel=INPUT,
        ),
    ] = None,
    outlines: Annotated[
        Path | None,
        typer.Option(
            help="Outlines drawn by hand on a few frames: COCO, where an image's file_name is the "
            "clip's and its frame counts from 0.",
            metavar="FILE",
            rich_help_panel=INPUT,
        ),
    ] = None,
    split: Annotated[
        Literal["train", "validation", "test"] | None,
        typer.Option(
            help="Split of rendered scenes or of a published data set. Default: test.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    kind: Annotated[
        LabelledKind | None,
        typer.Option(help="Format of the folder, if it is not recognised.", rich_help_panel=INPUT),
    ] = None,
    clips: Annotated[
        int,
        typer.Option(help="Maximum number of clips.", min=1, metavar="N", rich_help_panel=INPUT),
    ] = 64,
    frames: Annotated[
        int | None,
        typer.Option(
            help="Use the first N frames of each clip. Default: 24; by a protocol, all of a file.",
            min=1,
            metavar="N",
            rich_help_panel=INPUT,
        ),
    ] = None,
    seed_offset: Annotated[
        int | None,
        typer.Option(
            help="First seed of rendered clips. Default: the split's.",
            min=0,
            metavar="N",
            rich_help_panel=INPUT,
        ),
    ] = None,
    argmax: Annotated[
        Literal["auto", "after", "before", "guided"],
        typer.Option(
            help="Argmax over slots after or before soft masks are upsampled to the frame, or "
            "after upsampling along the frame's edges. Default: as decompose does.",
            rich_help_panel=SCORES,
        ),
    ] = "auto",
    protocol: Annotated[
        Literal["slotcontrast", "slotcurri", "videosaur"] | None,
        typer.Option(
            help="Score too as the authors of SlotContrast, SlotCurri or VideoSAUR do: their "
            "metrics, crops and sizes.",
            rich_help_panel=SCORES,
        ),
    ] = None,
    render: Annotated[
        int,
        typer.Option(
            help="Clips to render and compare with the source (PSNR, SSIM, LPIPS, MSE).",
            min=0,
            metavar="N",
            rich_help_panel=SCORES,
        ),
    ] = 8,
    render_frames: Annotated[
        int,
        typer.Option(
            help="Frames to render of each of them, never the first.",
            min=1,
            metavar="N",
            rich_help_panel=SCORES,
        ),
    ] = 4,
    lpips: Annotated[
        Literal["vgg", "alex", "squeeze", "off"],
        typer.Option(help="The network of LPIPS.", rich_help_panel=SCORES),
    ] = "vgg",
    lpips_weights: Annotated[
        Path | None,
        typer.Option(
            help="torchvision's weights of that network. Default: torch's cache.",
            metavar="FILE",
            rich_help_panel=SCORES,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for evaluation.json and clips.csv.",
            metavar="FOLDER",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Score a model against true masks, or results against outlines, beside trivial baselines.

    Examples:
      slotcli evaluate --model tiny-64 --data synth:A --clips 16 --frames 6
      slotcli evaluate --model run --data DAVIS --split validation -o scores
      slotcli evaluate --model mine --data MOVi-C --split validation --protocol slotcontrast
      slotcli evaluate --results slotcli-out --outlines outlines.json
    """
    if (model is None) == (not results) or (outlines is None) == bool(results):
        raise UsageError(
            "Evaluate either a model, or results against outlines.",
            "Give --model, or --results and --outlines.",
        )
    if results and protocol is not None:
        raise UsageError(
            "--protocol scores models, not results.", "Leave out one of the two options."
        )
    if results and outlines is not None:
        return evaluate_outlines(results, outlines)
    assert model is not None
    console.phase("loading the model")
    from slotcli.data.recognise import recognise
    from slotcli.evaluation.model_scores import (
        MODEL,
        better_baselines,
        evaluate_model,
        mean_scores,
        pooled_scores,
    )
    from slotcli.evaluation.protocol import ProtocolScorer, protocol_for
    from slotcli.evaluation.score_files import PER_CLIP, SUMMARY, clip_table, write_summary
    from slotcli.evaluation.score_record import (
        NAMES,
        PER_VIDEO,
        PICTURES,
        SEGMENTATION,
        protocol_record,
        reasons,
        score_record,
    )
    from slotcli.evaluation.sources import RENDERED, open_source
    from slotcli.scenes.seeds import TEST_SEEDS, VALIDATION_SEEDS

    if out is not None and (out / SUMMARY).exists() and not overwrite:
        raise CannotCreateError(f"{out / SUMMARY}: exists.", "Use --overwrite, or another --out.")
    if lpips == "off" and lpips_weights is not None:
        raise UsageError("--lpips off needs no weights.", "Leave out one of the two options.")
    chosen = setup.choose_device(device)
    setup.set_threads(threads, model)
    loaded, spec, module = load_slot_model(model, chosen)
    along_edges = module.encoder.takes_any_size
    way = ("guided" if along_edges else "after") if argmax == "auto" else argmax
    found_kind = None if data.startswith(RENDERED) else kind or recognise(Path(data))
    whole = found_kind in ("synth", "folder")
    if whole and split is not None:
        raise UsageError(f"--split {split}: {data} has no splits.", "Leave out --split.")
    part = split or "test"
    seeds = {"train": 0, "validation": VALIDATION_SEEDS, "test": TEST_SEEDS}
    console.phase("opening the clips")
    most = FRAMES if frames is None else frames
    opened = partial(
        open_source,
        data,
        clips=clips,
        size=spec.size,
        first_seed=seeds[part] if seed_offset is None else seed_offset,
        split=part,
        kind=found_kind,
    )
    source = opened(frames=most, keep=module.encoder.takes_any_size)
    for remark in source.remarks:
        console.note(remark)
    report_skipped(source.passed_over)
    if not source.labelled:
        raise UsageError(
            f"--data {data}: these videos have no true masks to score against.",
            "Use slotcli audit, which needs none, or make clips with: slotcli data synth.",
        )
    published = None
    if protocol is not None:
        whole_clips = sys.maxsize if frames is None and found_kind is not None else most
        published = ProtocolScorer(
            protocol_for(
                protocol,
                found_kind,
                spec.name,
                spec.size,
                turns_back=module.encoder.appearance is None,
            ),
            opened(frames=whole_clips, own_size=True),
            module,
            MODEL,
            spec.num_slots,
            chosen,
        )
    console.phase("loading LPIPS")
    distance, no_lpips = _open_lpips(lpips, lpips_weights, chosen) if render else (None, "")
    with (
        clip_table(out, list(PER_VIDEO), list(PICTURES), protocol) as write,
        console.progress("scoring clips", "clips") as meter,
    ):

        def scored(clip: "ClipScores", done: int, total: int) -> None:
            write(clip)
            meter.update(done, total)
            if done == total:
                meter.phase("auditing the masks")

        evaluation = evaluate_model(
            module,
            spec.num_slots,
            source,
            chosen,
            argmax=way,
            rendered=render,
            pictures=render_frames,
            lpips=distance,
            scored=scored,
            protocol=published,
        )
    console.phase("computing intervals")
    tables = {
        "segmentation": mean_scores(evaluation.video),
        "segmentation_per_frame": mean_scores(evaluation.frames),
        "pictures": mean_scores(evaluation.pictures),
    }
    missing = reasons(evaluation, no_lpips, draws=module.decoder.draws)
    ahead = {
        name: better_baselines(tables["segmentation"], score)
        for score, name in SEGMENTATION.items()
    }
    as_published = pooled_scores(evaluation.protocol)
    verdict = None if evaluation.audit is None else evaluation.audit.verdict(ahead)
    summary = score_record(
        model={
            "name": spec.name,
            "step": loaded.step,
            "weights_sha256": loaded.sha256,
            "num_slots": spec.num_slots,
            "size": list(spec.size),
        },
        data={
            "source": data,
            "kind": found_kind or "rendered",
            "split": None if whole else part,
            "clips": len(source.names),
            "frames": most,
            "first_clip": source.names[0],
        },
        method={"argmax": way, "frames_drawn_of_a_clip": render_frames},
        tables=tables,
        undefined=missing,
        lpips=distance,
        audit=None if evaluation.audit is None or verdict is None else (evaluation.audit, verdict),
        protocol=published and protocol_record(published.protocol, as_published),
    )
    if out is not None:
        write_summary(out, summary)
    console.record(summary)
    if not console.wants_json():
        console.result(
            f"{spec.name} ({spec.num_slots} slots), {len(source.names)} clips of {data}"
            f"{'' if whole else f' ({part})'}, at most {most} frames each."
        )
        show_evaluation(tables, way, drawn=len(evaluation.pictures), frames=render_frames)
        if published is not None:
            show_protocol(published.protocol, as_published)
    for score, reason in missing.items():
        console.note(f"{NAMES.get(score, score)}: {reason}")
    if len(source.names) < FEW_CLIPS:
        console.note(f"Intervals from fewer than {FEW_CLIPS} clips are too narrow.")
    if evaluation.audit is not None and verdict is not None:
        show_audit(f"Without labels, {evaluation.audit.clips} clips:", evaluation.audit, verdict)
    for name, better in ahead.items():
        if better and verdict is None:
            console.warn(f"{name}: no better than {', '.join(better)}.")
    if out is not None:
        console.note(f"Written: {out / SUMMARY} and {out / PER_CLIP}")


def _open_lpips(
    trunk: Literal["vgg", "alex", "squeeze", "off"], weights: Path | None, device: "torch.device"
) -> "tuple[Lpips | None, str]":
    """LPIPS, or the reason why there is none."""
    from slotcli.evaluation.perceptual import open_lpips

    if trunk == "off":
        return None, "turned off with --lpips off."
    try:
        distance = open_lpips(trunk, weights, device)
    except UnavailableError as missing:
        return None, f"{missing.what} {missing.advice}"
    if not distance.published:
        console.warn(
            f"LPIPS ({trunk}): not torchvision's weights; not comparable with published figures."
        )
    return distance, ""
