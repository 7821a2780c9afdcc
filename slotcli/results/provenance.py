"""The provenance of a result, for the slot file, result.json and the report page."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch

from slotcli import __version__
from slotcli.checkpoint import LoadedModel, portable
from slotcli.definition import spec_json
from slotcli.errors import DataError
from slotcli.evaluation.figures import FIGURES
from slotcli.evaluation.verdict import CRITERIA
from slotcli.files.layout import OVERLAY, RESULT, SLOT_FILE, STRIP, TRACKS, TRACKS_CSV
from slotcli.report.clip_view import ClipView
from slotcli.report.overlay import OPACITY
from slotcli.report.page import JudgedFigure, LinkedFile, Report
from slotcli.tracks.formats.all_formats import PLACES
from slotcli.tracks.statistics import SlotSummary
from slotcli.video.source import Damage, SourceInfo

_LABEL_FREE = "The model learned without labels and was never told what an object is."
_SUPERVISED = (
    "The model learned from the masks of its training clips and may take what is unlike their "
    "objects for background."
)
_FILES = {
    OVERLAY: "the clip with its objects in colour, numbered",
    STRIP: "a few frames in order, with their objects below",
    TRACKS_CSV: "position, area and box of each object in each frame",
    TRACKS: "each object over the whole clip",
    SLOT_FILE: "slots and soft masks, from which all else follows",
    RESULT: "how this result was made, and its warnings",
}
_MASK_FILES = {
    "png": "masks, one palette PNG per frame",
    "objects": "masks, one black and white PNG per object and frame",
    "ffv1": "masks, one lossless video",
    "ytvis": "masks as YouTube-VIS JSON",
    "coco": "masks as COCO JSON",
    "mots": "masks as MOTS text",
    "npz": "masks as one NumPy array",
    "alpha": "objects cut out, PNG with transparency",
}
NO_VERDICT = "Not judged: the version that made this result had no verdict."


def model_facts(loaded: LoadedModel) -> dict[str, Any]:
    """The weights that made the slots, by hash, and their model."""
    return {
        "name": loaded.spec.name,
        "weights_sha256": loaded.sha256,
        "step": loaded.step,
        "spec": portable(spec_json(loaded.spec)),
    }


def source_facts(source: SourceInfo) -> dict[str, Any]:
    """Properties of the source, without its path, so that a moved clip gives the same file."""
    return {
        "name": source.name,
        "bytes": source.bytes,
        "codec": source.codec,
        "pixel_format": source.pixel_format,
        "coded_size": list(source.coded_size),
        "size": list(source.size),
        "rotation": source.rotation,
        "flipped": source.flipped,
        "sample_aspect": _ratio(source.sample_aspect),
        "time_base": _ratio(source.time_base),
        "average_rate": None if source.average_rate is None else _ratio(source.average_rate),
    }


def run_facts(device: torch.device, precision: str, options: dict[str, Any]) -> dict[str, Any]:
    """The computing environment of the slots; equal for two equal runs."""
    return {
        "version": __version__,
        "torch": torch.__version__,
        "device": device.type,
        "precision": precision,
        "options": options,
    }


def damage_counts(damage: Damage) -> dict[str, int]:
    """Counts of errors, repairs and format changes in the source."""
    return {
        "packet_errors": damage.packet_errors,
        "corrupt_frames": damage.corrupt_frames,
        "timing_repaired": damage.timing_repaired,
        "format_changes": damage.format_changes,
    }


def damage_warnings(damage: Damage) -> list[str]:
    """Sentences on errors, repairs and missing frames of the source."""
    warnings = list(damage.notes)
    lost = damage.packet_errors + damage.corrupt_frames
    if lost:
        warnings.append(f"{lost} of {damage.decoded} frames were damaged or lost.")
    if damage.timing_repaired:
        warnings.append(
            f"{damage.timing_repaired} of {damage.decoded} frames had no time of their own, or "
            "one out of order: theirs is an estimate."
        )
    if damage.format_changes:
        warnings.append(
            f"{damage.format_changes} of {damage.decoded} frames have another size or pixel format "
            "than the first one."
        )
    if damage.missing:
        warnings.append(
            f"{damage.missing} of {damage.decoded + damage.missing} frames that the file declares "
            "are not in it."
        )
    return warnings


def report_page(
    metadata: dict[str, Any],
    summaries: list[SlotSummary],
    warnings: list[str],
    seconds: float | int,
    verdict: dict[str, Any] | None,
    view: ClipView,
    *,
    has_overlay: bool,
    opacity: float = OPACITY,
) -> Report:
    """The page of a result, from its slot file's metadata, its statistics, and its result.json.

    Results of older versions have no `verdict`. Raises DataError where the metadata or the verdict
    lack a key.
    """
    try:
        return _page(metadata, summaries, warnings, seconds, verdict, view, has_overlay, opacity)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise DataError(
            f"The slot file's metadata lack something: {error}.",
            "Make the result again: slotcli decompose.",
        ) from error


def _page(
    metadata: dict[str, Any],
    summaries: list[SlotSummary],
    warnings: list[str],
    seconds: float | int,
    verdict: dict[str, Any] | None,
    view: ClipView,
    has_overlay: bool,
    opacity: float,
) -> Report:
    statistics, run = metadata["statistics"], metadata["run"]
    source, model = metadata["source"], metadata["model"]
    height, width = source["size"]
    model_height, model_width = metadata["transform"]["model_size"]
    options = run["options"]
    used = len(statistics["used_slots"])
    return Report(
        title=source["name"],
        passed=None if verdict is None or used < 2 else verdict["passed"],
        verdict=_verdict_sentence(used, verdict),
        trust=[*_motion_sentence(verdict), "Look at the masks before you rely on them."],
        figures=[] if verdict is None else _figures(verdict),
        warnings=warnings,
        limits=_limits(metadata),
        source=[
            ("Size", f"{width} x {height} pixels"),
            ("Frames", str(statistics["frames"])),
            ("Codec", f"{source['codec']}, {source['pixel_format']}"),
            ("Time base", f"{Fraction(*source['time_base'])} s"),
        ],
        model=[
            ("Model", model["name"]),
            ("Weights", f"sha256 {model['weights_sha256'][:16]}, step {model['step']}"),
            ("Sees", f"{model_width} x {model_height} pixels, {options['fit']}"),
        ],
        run=[
            ("Version", f"slotcli {run['version']}, torch {run['torch']}"),
            ("Device", run["device"]),
            ("Background", _background(statistics["background"])),
            ("Mask edges", options.get("edges", "bilinear")),
            ("Time", f"{seconds:.1f} s"),
        ],
        slots=summaries,
        files=_files(options.get("masks", []), has_overlay),
        overlay=OVERLAY if has_overlay else None,
        opacity=opacity,
        view=view,
    )


def _files(masks: Sequence[str], has_overlay: bool) -> list[LinkedFile]:
    """The files that `decompose` wrote, for links."""
    found = [LinkedFile(name, holds) for name, holds in _FILES.items()]
    own = [LinkedFile(PLACES[name], _MASK_FILES[name]) for name in PLACES if name in masks]
    return [file for file in [*own, *found] if has_overlay or file.name != OVERLAY]


def _figures(verdict: dict[str, Any]) -> list[JudgedFigure]:
    """The figures that were measured, as text."""
    known = [(name, verdict["figures"].get(name), verdict["checks"].get(name)) for name in CRITERIA]
    return [
        JudgedFigure(FIGURES[name].title, f"{value:.2f}", FIGURES[name].wanted, passed)
        for name, value, passed in known
        if value is not None and passed is not None
    ]


def _limits(metadata: dict[str, Any]) -> list[str]:
    """Limits of the model, in sentences."""
    spec = metadata["model"].get("spec", {})
    crop = metadata["transform"].get("crop") or [0, 0, *metadata["source"]["size"]]
    scale = max(crop[2] / metadata["transform"]["model_size"][0], 1)
    slots = spec.get("num_slots")
    found = [_SUPERVISED if spec.get("train", {}).get("mask_weight") else _LABEL_FREE]
    if slots:
        found.append(f"It has {slots} slots: at most so many things, the background among them.")
    if scale >= 2:
        found.append(
            f"One of its pixels covers {scale:.0f} x {scale:.0f} of the clip's: things of a few "
            "such pixels are lost."
        )
    found.append(
        "An object keeps its number while it is in view. After a cut, or behind another object, it "
        "may come back as another."
    )
    return found


def _background(recorded: int | list[int] | None) -> str:
    if recorded is None:
        return "none"
    slots = recorded if isinstance(recorded, list) else [recorded]
    return f"ID 0 (slot{'s' * (len(slots) > 1)} {', '.join(map(str, slots))} of the slot file)"


def _verdict_sentence(used: int, verdict: dict[str, Any] | None) -> str:
    if used < 2:
        return "One slot took every pixel: this result says nothing about objects."
    sentence = NO_VERDICT if verdict is None else verdict["sentence"]
    outcome, _, reason = sentence.partition(": ")  # the page shows the outcome as a heading
    return reason[:1].upper() + reason[1:] if reason else outcome


def _motion_sentence(verdict: dict[str, Any] | None) -> list[str]:
    follows = None if verdict is None else verdict["figures"]["follows_motion"]
    if follows is None:
        return []
    return [
        f"Where something moves across borders of slots, {follows:.0%} of its pixels keep their "
        "slot (a fixed grid: 0%)."
    ]


def _ratio(value: Fraction) -> list[int]:
    return [value.numerator, value.denominator]
