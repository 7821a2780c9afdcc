"""slotcli evaluate: a slot model's scores, and beside them those of understanding nothing."""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcli.commands import console, setup
from slotcli.commands.audit import audit_record, load_slot_model, show_audit
from slotcli.commands.options import Device, Model, Threads
from slotcli.errors import CannotCreateError, UsageError

if TYPE_CHECKING:
    from slotcli.evaluation.intervals import MeanInterval
    from slotcli.evaluation.model_scores import Evaluation

SCHEMA = "slotcli.evaluation/1"
SUMMARY, PER_CLIP = "evaluation.json", "clips.csv"
_SEGMENTATION = {
    "fg_ari": "FG-ARI",
    "ari": "ARI",
    "miou": "mIoU",
    "fg_miou": "fg-mIoU",
    "mbo": "mBO",
}
_PICTURES = {"psnr": "PSNR", "ssim": "SSIM", "mse": "MSE"}


def evaluate(
    model: Model,
    data: Annotated[
        str, typer.Option(help="synth:TIER, or a folder that slotcli data synth wrote.")
    ] = "synth:C",
    clips: Annotated[int, typer.Option(help="At most.", min=1)] = 64,
    frames: Annotated[int, typer.Option(help="The first so many of each clip.", min=1)] = 24,
    seed_offset: Annotated[
        int | None,
        typer.Option(help="First seed of synth clips; the test seeds by default.", min=0),
    ] = None,
    render: Annotated[
        int, typer.Option(help="Clips of which some frames are drawn and compared.", min=0)
    ] = 8,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help=f"Folder for {SUMMARY} and {PER_CLIP}.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace results that exist.")] = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Score a model against true masks, beside decompositions that understand nothing."""
    if out is not None and (out / SUMMARY).exists() and not overwrite:
        raise CannotCreateError(f"{out / SUMMARY}: exists.", "Use --overwrite, or another --out.")

    from slotcli.data.datasets import TEST_SEEDS
    from slotcli.evaluation.model_scores import better_baselines, evaluate_model, means
    from slotcli.evaluation.sources import open_source

    chosen = setup.choose_device(device)
    setup.set_threads(threads)
    loaded, spec, module = load_slot_model(model, chosen)
    first_seed = TEST_SEEDS if seed_offset is None else seed_offset
    source = open_source(data, clips=clips, frames=frames, size=spec.size, first_seed=first_seed)
    if not source.labelled:
        raise UsageError(
            f"--data {data}: these videos have no true masks to score against.",
            "Use slotcli audit, which needs none, or make clips with: slotcli data synth.",
        )
    with console.progress(spec.name) as meter:
        found = evaluate_model(
            module, spec.num_slots, source, chosen, rendered=render, progress=meter.update
        )
    segmentation, pictures = means(found.segmentation), means(found.pictures)
    summary = {
        "schema": SCHEMA,
        "model": {
            "name": spec.name,
            "step": loaded.step,
            "weights_sha256": loaded.sha256,
            "num_slots": spec.num_slots,
            "size": list(spec.size),
        },
        "data": {
            "source": data,
            "clips": len(source.names),
            "frames": frames,
            "first_clip": source.names[0],
        },
        "segmentation": _plain(segmentation),
        "pictures": _plain(pictures),
        "audit": None if found.audit is None else audit_record(found.audit),
    }
    if out is not None:
        _write(out, summary, found)
    console.record(summary)
    if not console.wants_json():
        console.result(
            f"{spec.name}, {len(source.names)} clips of {data}, at most {frames} frames each. "
            "Mean ± half of its 95 % interval, in percent:"
        )
        _show(segmentation, _SEGMENTATION, 100)
        if pictures:
            console.result(f"Frames of {len(found.pictures)} clips, drawn from their slots:")
            _show(pictures, _PICTURES, 1)
    if found.audit is None:
        console.note("No audit: it takes at least 2 clips.")
    else:
        show_audit(f"Without labels, {found.audit.clips} clips:", found.audit, spec.num_slots)
    for score, name in _SEGMENTATION.items():
        if better := better_baselines(segmentation, score):
            console.warn(f"{name}: no better than {', '.join(better)}.")


def _show(rows: "dict[str, dict[str, MeanInterval]]", columns: dict[str, str], scale: int) -> None:
    console.table(
        "",
        ["", *columns.values()],
        [[row, *(_cell(scores[name], scale) for name in columns)] for row, scores in rows.items()],
    )


def _cell(value: "MeanInterval", scale: int) -> str:
    if value.mean is None:
        return "-"
    digits = 1 if abs(value.mean * scale) >= 2 or scale > 1 else 3
    mean = f"{value.mean * scale:.{digits}f}"
    if value.low is None or value.high is None:
        return mean
    return f"{mean} ±{(value.high - value.low) / 2 * scale:.{digits}f}"


def _plain(rows: "dict[str, dict[str, MeanInterval]]") -> dict[str, Any]:
    return {
        row: {name: asdict(value) for name, value in scores.items()} for row, scores in rows.items()
    }


def _write(out: Path, summary: dict[str, Any], found: "Evaluation") -> None:
    """The scores of every clip, then the summary, whose presence says that all is there."""
    from slotcli.tracks.writing import output_errors, whole_file

    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["clip", "row", *_SEGMENTATION, *_PICTURES])
    for clip, rows in found.segmentation.items():
        drawn = found.pictures.get(clip, {})
        for row in [*rows, *(row for row in drawn if row not in rows)]:
            scores = rows.get(row, {}) | drawn.get(row, {})
            writer.writerow([clip, row, *(scores.get(n) for n in (*_SEGMENTATION, *_PICTURES))])
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with whole_file(out / PER_CLIP) as file:
        file.write(table.getvalue().encode())
    with whole_file(out / SUMMARY) as file:
        file.write(json.dumps(summary, indent=1, sort_keys=True).encode() + b"\n")
