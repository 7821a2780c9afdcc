"""The record of an evaluation: scores of a model and of its baselines, and what has none."""

from dataclasses import asdict
from typing import Any

from slotcli.evaluation.audit import AuditScores
from slotcli.evaluation.intervals import MeanInterval
from slotcli.evaluation.model_scores import Evaluation, count_undefined, missing_samples
from slotcli.evaluation.perceptual import Lpips
from slotcli.evaluation.protocol import PROTOCOL_SCORES, Protocol
from slotcli.evaluation.verdict import Verdict

SCHEMA = "slotcli.evaluation/1"
SEGMENTATION = {
    "fg_ari": "FG-ARI",
    "ari": "ARI",
    "miou": "mIoU",
    "fg_miou": "fg-mIoU",
    "mbo": "mBO",
}
PICTURES = {"psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS", "mse": "MSE"}
PER_VIDEO = SEGMENTATION | {"identity": "identity"}
NAMES = PER_VIDEO | PICTURES | PROTOCOL_SCORES
_METHOD = {
    "per_video": "time folded into space: one score per clip, slots matched to objects once",
    "per_frame": "each frame scored alone, averaged over its clip, then over clips",
    "identity": "objects in the first and last frame with one label in both, not the background's",
    "interval": "95 %, expanded percentile bootstrap over clips",
    "mse": "squared error in [0, 1], summed over channels and pixels, averaged over frames",
    "lpips": "version 0.1, on images clamped to [-1, 1]",
}

Table = dict[str, dict[str, MeanInterval]]  # by row (the model or a baseline), then score


def score_record(
    model: dict[str, Any],
    data: dict[str, Any],
    method: dict[str, Any],
    tables: dict[str, Table],
    undefined: dict[str, str],
    lpips: Lpips | None,
    audit: tuple[AuditScores, Verdict] | None,
    protocol: dict[str, Any] | None,
) -> dict[str, Any]:
    """The content of evaluation.json: each table by its name, null for what has no value."""
    return {
        "schema": SCHEMA,
        "model": model,
        "data": data,
        "method": {**_METHOD, **method},
        **{name: _plain(table) for name, table in tables.items()},
        "lpips": None if lpips is None else _provenance(lpips),
        "protocol": protocol,
        "undefined": undefined,
        "audit": None if audit is None else audit[0].as_dict() | audit[1].as_dict(),
    }


def _plain(table: Table) -> dict[str, Any]:
    return {
        row: {name: asdict(value) for name, value in scores.items()}
        for row, scores in table.items()
    }


def protocol_record(protocol: Protocol, table: Table) -> dict[str, Any]:
    """The scores of a protocol under its name, with the choices that they depend on."""
    return {"name": protocol.name, "method": protocol.method(), "scores": _plain(table)}


def reasons(evaluation: Evaluation, no_lpips: str, *, draws: bool) -> dict[str, str]:
    """By score, the reason why some clips have none."""
    count, drawn = len(evaluation.clips), len(evaluation.pictures)
    causes = {
        "ari": "no pixel is labelled",
        "miou": "no pixel is labelled",
        "identity": "no true object is in the first and the last of several frames",
    }
    reasons = {
        score: f"undefined for {missing} of {count} clips: "
        f"{causes.get(score, 'they show no true object')}."
        for score, missing in count_undefined(evaluation.video).items()
    }
    for score, missing in count_undefined(evaluation.pictures).items():
        reasons[score] = f"undefined for {missing} of {drawn} clips: the frames are too small."
    for score, (missing, of) in missing_samples(evaluation.protocol).items():
        what = "videos" if score.startswith("video") else "frames"
        reasons[score] = (
            f"undefined for {missing} of {of} {what}: they show no true object."
            if of
            else f"undefined: no clip has as many {what} as the protocol asks for."
        )
    if no_lpips:
        reasons["lpips"] = no_lpips
    if not drawn:
        none = "none were rendered (--render 0)" if draws else "the model draws no frames"
        reasons["pictures"] = f"{none}."
    if evaluation.audit is None:
        reasons["audit"] = "it takes at least 2 clips."
    return reasons


def _provenance(lpips: Lpips) -> dict[str, Any]:
    return {
        "trunk": lpips.trunk,
        "weights_sha256": lpips.sha256,
        "published": lpips.published,
    }
