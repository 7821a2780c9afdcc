"""The provenance of a result, for the slot file, result.json and the report page."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch

from slotcli import __version__
from slotcli.checkpoint import LoadedModel, portable
from slotcli.definition import spec_json
from slotcli.errors import DataError
from slotcli.files.layout import OVERLAY, STRIP
from slotcli.report.page import Report
from slotcli.tracks.statistics import SlotSummary
from slotcli.video.source import Damage, SourceInfo

_LABEL_FREE = "The model learned without labels and was never told what an object is"
_SUPERVISED = (
    "The model learned from the masks of its training clips and may take what is unlike their "
    "objects for background"
)
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
    pictures: Sequence[str] = (OVERLAY, STRIP),
) -> Report:
    """The page of a result, from its slot file's metadata, its statistics, and its result.json.

    Results of older versions have no `verdict`. `pictures` are the image and video files beside the
    page. Raises DataError where the metadata or the verdict lack a key.
    """
    try:
        return _page(metadata, summaries, warnings, seconds, verdict, pictures)
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
    pictures: Sequence[str],
) -> Report:
    statistics, run = metadata["statistics"], metadata["run"]
    source, model = metadata["source"], metadata["model"]
    height, width = source["size"]
    model_height, model_width = metadata["transform"]["model_size"]
    options = run["options"]
    return Report(
        title=source["name"],
        trust=trust_sentence(
            len(statistics["used_slots"]),
            verdict,
            supervised=bool(model.get("spec", {}).get("train", {}).get("mask_weight")),
        ),
        warnings=warnings,
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
        overlay=OVERLAY if OVERLAY in pictures else None,
        strip=STRIP if STRIP in pictures else None,
    )


def _background(recorded: int | list[int] | None) -> str:
    if recorded is None:
        return "none"
    slots = recorded if isinstance(recorded, list) else [recorded]
    return f"ID 0 (slot{'s' * (len(slots) > 1)} {', '.join(map(str, slots))} of the slot file)"


def trust_sentence(used: int, verdict: dict[str, Any] | None, *, supervised: bool = False) -> str:
    """A sentence on how far to trust a result, from label-free figures.

    `supervised` is whether the model learned from masks of its training clips. Raises KeyError and
    TypeError for a verdict that `VerdictSample.record` did not make.
    """
    if used < 2:
        return "One slot took every pixel: this result says nothing about objects."
    judged = NO_VERDICT if verdict is None else verdict["sentence"]
    follows = None if verdict is None else verdict["figures"]["follows_motion"]
    moved = (
        ""
        if follows is None
        else f" Where something moves across borders of slots, {follows:.0%} of its pixels keep "
        "their slot (a fixed grid: 0%)."
    )
    learned = _SUPERVISED if supervised else _LABEL_FREE
    return (
        f"{used} slots are used. {judged}{moved} {learned}: look at the pictures before relying on "
        "the masks."
    )


def _ratio(value: Fraction) -> list[int]:
    return [value.numerator, value.denominator]
