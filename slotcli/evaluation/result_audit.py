"""Audits stored results: slot files and their source clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from slotcli.errors import DataError, NoInputError, SlotcliError, UsageError, printable
from slotcli.evaluation.audit import AuditScores, audit_labels
from slotcli.evaluation.label_free import edge_alignment
from slotcli.evaluation.picture_figures import picture_figures
from slotcli.tracks.masks import labels_from_attention
from slotcli.tracks.slot_file import SlotFile, read_slot_file
from slotcli.tracks.transform import Transform
from slotcli.types import Size
from slotcli.video.pixels import resized
from slotcli.video.reader import open_clip

_CHUNK = 8  # frames decoded at once, at the clip's own size


@dataclass(frozen=True)
class StoredResult:
    """A slot file and its source clip, if that was recorded."""

    slots: Path
    source: Path | None


@dataclass(frozen=True)
class ResultAudit:
    """The scores, the one model of all results, and the results left out, by path."""

    scores: AuditScores
    model: dict[str, Any]  # name and weights_sha256
    num_slots: int
    left_out: dict[str, SlotcliError]
    without_pictures: dict[str, SlotcliError]


def audit_results(
    results: Sequence[StoredResult],
    *,
    clips: int,
    frames: int,
    progress: Callable[[int, int], None],
) -> ResultAudit:
    """Score the first `frames` frames of the first `clips` results that have them.

    Labels and frames have the model's size, as in an audit of the model; among results of several
    shapes, the first one's. Labels are those of the slots, before masks are cleaned. One slot file
    is in memory at a time; its labels and small frames are kept. A result that is unreadable or too
    short is left out; one with an unreadable clip does not count for figures that need frames.
    Raises NoInputError if no result is left, UsageError for results of several models.
    """
    made_by: tuple[dict[str, Any], int] | None = None
    size: Size | None = None
    labels: list[UInt8[np.ndarray, "t h w"]] = []
    pictures: list[tuple[int, UInt8[Tensor, "t 3 h w"]]] = []
    left_out: dict[str, SlotcliError] = {}
    without: dict[str, SlotcliError] = {}
    for result in results:
        if len(labels) == clips:
            break
        name = printable(result.slots)
        try:
            stored = read_slot_file(result.slots)
            size = size or stored.transform.model_size
            own = _labels(stored, frames, size)
        except SlotcliError as error:
            left_out[name] = error
            continue
        maker = _maker(stored)
        made_by = made_by or maker
        if maker != made_by:
            raise UsageError(
                f"{name}: was made by {_described(maker)}, others by {_described(made_by)}.",
                "Audit the results of each model by themselves.",
            )
        try:
            pictures.append((len(labels), _pictures(result.source, stored, frames, size)))
        except SlotcliError as error:
            without[name] = error
        labels.append(own)
        progress(len(labels), min(clips, len(results)))
    if made_by is None:
        raise NoInputError(
            f"None of {len(results)} results has {frames} frames that can be read.",
            "Choose other results, or fewer frames.",
        )
    model, num_slots = made_by
    stacked = np.stack(labels)
    scores = audit_labels(stacked, num_slots)
    if pictures:
        shown = torch.stack([clip for _, clip in pictures])
        alignment = edge_alignment(shown, stacked[[number for number, _ in pictures]])
        scores = replace(scores, edge_alignment=alignment, edge_clips=len(pictures)).with_pictures(
            picture_figures((clip, stacked[number]) for number, clip in pictures)
        )
    return ResultAudit(scores, model, num_slots, left_out, without)


def _maker(stored: SlotFile) -> tuple[dict[str, Any], int]:
    facts = {name: stored.metadata["model"].get(name) for name in ("name", "weights_sha256")}
    return facts, stored.slots.shape[1]


def _described(maker: tuple[dict[str, Any], int]) -> str:
    facts, num_slots = maker
    return f"{facts['name']} ({str(facts['weights_sha256'])[:8]}, {num_slots} slots)"


def _labels(stored: SlotFile, frames: int, size: Size) -> UInt8[np.ndarray, "t h w"]:
    """The slot of every pixel of the crop, resized to `size`."""
    if len(stored.attention) < frames:
        raise DataError(f"it has only {len(stored.attention)} frames.", "Ask for fewer frames.")
    whole = Transform(size, (0, 0, *size), size)
    return labels_from_attention(stored.attention[:frames], whole) - np.uint8(1)


def _pictures(
    source: Path | None, stored: SlotFile, frames: int, size: Size
) -> UInt8[Tensor, "t 3 height width"]:
    """The model's input of the first frames, decoded again."""
    if source is None:
        raise NoInputError("its clip was not recorded.", "Keep result.json beside the slot file.")
    transform, wanted = stored.transform, set(stored.frame_index[:frames].tolist())
    top, left, height, width = transform.crop
    pictures: list[UInt8[np.ndarray, "height width 3"]] = []
    with open_clip(source) as reader:
        facts = stored.metadata["source"]
        if (reader.info.bytes, reader.info.size) != (facts.get("bytes"), transform.source_size):
            raise DataError(
                f"{printable(source)} is not the clip that it was made of any more.",
                "Decompose it again.",
            )
        for chunk in reader.chunks(_CHUNK):
            for picture, index in zip(chunk.frames, chunk.frame_index.tolist(), strict=True):
                if index in wanted:
                    cropped = picture[top : top + height, left : left + width]
                    pictures.append(resized(cropped, size))
            if len(pictures) == len(wanted):
                break
    if len(pictures) != frames:
        raise DataError(
            f"{printable(source)} has lost frames that it was made of.", "Decompose it again."
        )
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
