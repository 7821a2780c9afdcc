"""One clip's decomposition: the job, and its records in slot file and result.json."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from slotcli import __version__
from slotcli.checkpoint import LoadedModel
from slotcli.compute.precision import precision_of
from slotcli.decomposition.clip_outputs import Background, ClipOutputs
from slotcli.decomposition.plan import PlannedClip
from slotcli.decomposition.request import DecomposeOptions, Request
from slotcli.errors import DataError, printable
from slotcli.model import SlotModel
from slotcli.results.provenance import (
    damage_counts,
    damage_warnings,
    model_facts,
    run_facts,
    source_facts,
)
from slotcli.results.reconstruct import recordable_background
from slotcli.spec import SlotModelSpec
from slotcli.tracks.statistics import SlotSummary, object_ids
from slotcli.tracks.transform import Transform
from slotcli.video.source import Damage, SourceInfo

SCHEMA = "slotcli.result/1"

_MIN_COVERAGE = 0.98

Status = Literal["ok", "degraded"]


@dataclass(frozen=True)
class ClipJob:
    """A clip, the model, and the options to decompose it with."""

    clip: PlannedClip
    loaded: LoadedModel
    options: DecomposeOptions
    device: torch.device
    request: Request

    @property
    def spec(self) -> SlotModelSpec:
        return self.loaded.slot_model()[0]

    @property
    def model(self) -> SlotModel:
        return self.loaded.slot_model()[1]

    def background(self) -> Background:
        """The background of the options; by default the slot learned as background, if any."""
        learned, asked = self.spec.background_slot, self.options.background
        return asked if asked != "auto" or learned is None else (learned,)

    def run_facts(self) -> dict[str, Any]:
        precision = precision_of(self.model.encoder.backbone)
        return run_facts(self.device, precision, self.options.as_dict())

    def journal_key(self) -> str:
        """Everything that the numbers in the journal depend on, bit by bit."""
        return json.dumps([self.request.key, self.run_facts(), torch.get_num_threads()])


@dataclass(frozen=True)
class ClipResult:
    """`status` is ok, or degraded where more was lost than allowed.

    `resumed` of the `frames` came from a run that was stopped. `seconds` is the run's duration;
    `busy` is, by stage, the seconds that decoding, the model, writing and the overlay worked, in
    parallel. `length` is the duration of the used part of the clip, `objects` how many were seen in
    it, the background not among them.
    """

    folder: Path
    status: Status
    frames: int
    resumed: int
    seconds: float
    busy: dict[str, float]
    warnings: list[str]
    length: float | None = None  # None from workers, which hand back what a batch reports
    objects: int | None = None


def judge_damage(damage: Damage, options: DecomposeOptions, name: str) -> Status:
    """Degraded where more frames are lost than `max_bad` allows, or the end is missing.

    Raises DataError for any loss or repair if the options are strict.
    """
    missing = damage.missing or 0
    lost = damage.packet_errors + damage.corrupt_frames + missing
    fraction = lost / max(1, damage.decoded + damage.packet_errors + missing)
    short = damage.coverage is not None and damage.coverage < _MIN_COVERAGE
    if options.strict and (lost or short or damage.repaired):
        raise DataError(
            f"{name}: {' '.join(damage_warnings(damage))}",
            "Leave out --strict to keep what is sound.",
        )
    return "degraded" if fraction > options.max_bad or short else "ok"


def slot_file_metadata(
    job: ClipJob,
    source: SourceInfo,
    transform: Transform,
    outputs: ClipOutputs,
    damage: Damage,
    summaries: list[SlotSummary],
) -> dict[str, Any]:
    """The provenance in a slot file."""
    selection, kept = job.options.selection, outputs.kept_pixels
    ids = object_ids(job.spec.num_slots, outputs.background)
    present = {own.id for own in summaries if own.frames_present}
    return {
        "model": model_facts(job.loaded),
        "source": source_facts(source),
        "transform": transform.to_json(),
        "sampling": {
            "start": selection.start,
            "end": selection.end,
            "stride": selection.stride,
            "max_frames": selection.max_frames,
        },
        "run": job.run_facts(),
        "statistics": {
            "frames": outputs.frames,
            "background": recordable_background(outputs.background),
            "used_slots": [slot for slot, own in enumerate(ids) if own in present],
            "kept_pixels": None if kept is None else round(kept, 6),
            "corrupt_frames": damage.corrupt_frames,
        },
    }


def result_record(
    job: ClipJob,
    source: SourceInfo,
    damage: Damage,
    result: ClipResult,
    metadata: dict[str, Any],
    verdict: dict[str, Any],
) -> dict[str, Any]:
    """The contents of result.json, except the slot file's hash."""
    return {
        "schema": SCHEMA,
        "status": result.status,
        "request": job.request.key,
        "source": metadata["source"]
        | {
            "path": printable(source.path.resolve()),
            "sha256": job.request.source.digest,
            "state": job.request.source.state,
        },
        "model": {
            "name": job.spec.name,
            "weights_sha256": job.loaded.sha256,
            "path": printable(job.loaded.path.resolve()),
        },
        "counts": {
            "frames": result.frames,
            "seconds": result.length,
            "objects": result.objects,
            **damage_counts(damage),
        },
        "coverage": damage.coverage,
        "warnings": result.warnings,
        "verdict": verdict,
        "options": metadata["run"]["options"],
        "resumed_frames": result.resumed,
        "seconds": result.seconds,
        "busy_seconds": result.busy,
        "frames_per_second": round(result.frames / result.seconds, 3),
        "version": __version__,
    }
