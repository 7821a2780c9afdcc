"""Reasons to distrust the objects that an edit touches: the verdict, and each one's own mask."""

import json
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool

from slotcli.evaluation.figures import FIGURES
from slotcli.files.layout import RESULT
from slotcli.tracks.slot_file import SlotFile

_CONFIDENCE = 0.5  # mean soft mask of an object over its own positions
_JUMP = 0.15  # of the grid's diagonal, between two frames whose masks do not touch
_PRESENT = 0.5  # fraction of the frames


def verdict_doubt(slots: Path) -> str | None:
    """The verdict of the result around a slot file, unless it passed; None too if there is none."""
    try:
        verdict = json.loads((slots.parent / RESULT).read_bytes())["verdict"]
        passed, sentence = verdict["passed"], str(verdict["sentence"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if passed else f"The audit does not trust this result. {sentence}"


def mask_doubts(slot_file: SlotFile, object_id: int) -> list[str]:
    """Sentences on the mask of one object, by its ID, on the grid of the unedited attention."""
    attention = slot_file.unedited_attention
    attention = slot_file.attention if attention is None else attention
    if object_id > attention.shape[1]:
        return []  # a copy: its original was judged
    masks = attention.argmax(axis=1) == object_id - 1
    present = masks.any(axis=(1, 2))
    if not present.any():
        return [f"Object {object_id} is in no frame: it wins no position."]
    doubts = []
    if present.mean() < _PRESENT:
        doubts.append(f"Object {object_id} is in {present.sum()} of {len(present)} frames only.")
    confidence = float(attention[:, object_id - 1].astype(np.float32)[masks].mean())
    if confidence < _CONFIDENCE:
        doubts.append(f"Object {object_id}: its mask is unsure (confidence {confidence:.2f}).")
    whole = float(np.mean([_largest_piece(mask) for mask in masks[present]]))
    if not FIGURES["connected"].passes(whole):
        doubts.append(
            f"Object {object_id} lies in pieces: the largest has {whole:.0%} of its mask."
        )
    if jumps := _jumps(masks):
        frames = ", ".join(str(slot_file.frame_index[row]) for row in jumps[:5])
        doubts.append(
            f"Object {object_id} jumps at frame {frames}: another object may be meant there."
        )
    return doubts


def _largest_piece(mask: Bool[np.ndarray, "i j"]) -> float:
    _, _, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return float(statistics[1:, cv2.CC_STAT_AREA].max() / mask.sum())


def _jumps(masks: Bool[np.ndarray, "t i j"]) -> list[int]:
    """Rows whose mask is far from that of the last row with one."""
    jumps: list[int] = []
    before: Bool[np.ndarray, "i j"] | None = None
    reach = _JUMP * float(np.hypot(*masks.shape[1:]))
    for row, mask in enumerate(masks):
        if not mask.any():
            continue
        if before is not None and not (mask & before).any():
            centres = [np.argwhere(each).mean(axis=0) for each in (before, mask)]
            if np.hypot(*(centres[1] - centres[0])) > reach:
                jumps.append(row)
        before = mask
    return jumps
