"""A corrected frame of masks, from which the slots of a clip start, forwards and backwards."""

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from slotcli.data.formats.coco_masks import decode_mask
from slotcli.errors import DataError, NoInputError, SlotcliError, UsageError, printable
from slotcli.files.reading import access_errors
from slotcli.tracks.masks import read_mask, read_masks
from slotcli.tracks.transform import Transform
from slotcli.types import OUTSIDE, Size

_ADVICE = "Use such as masks/00012.png, masks@12, coco.json@12, masks.npz@12 or masks.mkv@12."


@dataclass(frozen=True, eq=False)
class Correction:
    """Labels of frame `frame` of a clip, counted from 0: IDs of objects, 0 background, 255 unknown.

    The ID of an object is that of its slot + 1, as in results.
    """

    labels: UInt8[np.ndarray, "h w"]
    frame: int

    def as_dict(self) -> dict[str, Any]:
        """The frame, and the hash of its labels, for the record."""
        digest = hashlib.sha256(repr(self.labels.shape).encode() + self.labels.tobytes())
        return {"frame": self.frame, "sha256": digest.hexdigest()}


def read_correction(text: str) -> Correction:
    """Reads PATH@FRAME: a PNG, a folder of them, COCO's JSON, an npz or a gray video of labels.

    A PNG whose name ends in a number needs no @FRAME. Raises UsageError, NoInputError and
    DataError.
    """
    name, at, number = text.rpartition("@")
    if not (at and name and number.isascii() and number.isdecimal()):
        digits = re.findall(r"\d+", Path(text).stem)
        if Path(text).suffix.lower() != ".png" or not digits:
            raise UsageError(f"--start-from {text}: which frame is it?", _ADVICE)
        name, number = text, digits[-1]
    path, frame = Path(name), int(number)
    with access_errors(path):
        if not path.exists():
            raise NoInputError(f"--start-from {printable(path)}: there is no such file.", _ADVICE)
    try:
        return Correction(np.ascontiguousarray(_labels(path, frame)), frame)
    except SlotcliError:
        raise
    except (OSError, ValueError, KeyError, TypeError, OverflowError, zipfile.BadZipFile) as error:
        raise DataError(f"{printable(path)} holds no masks: {error!r}.", _ADVICE) from error


def _labels(path: Path, frame: int) -> UInt8[np.ndarray, "h w"]:
    match path.suffix.lower():
        case ".png":
            return read_mask(path)
        case ".json":
            return _coco_labels(json.loads(path.read_bytes()), frame, printable(path))
        case ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                labels = arrays["labels"]
            if labels.ndim != 3 or labels.dtype.kind not in "ui":
                raise ValueError(f"labels of shape {labels.shape}, {labels.dtype}")
            _require_frame(path, frame, len(labels))
            if labels[frame].min() < 0 or labels[frame].max() > OUTSIDE:
                raise ValueError("labels are 0 to 255")
            return labels[frame].astype(np.uint8)
    if path.is_dir() and (path / f"{frame:05d}.png").is_file():
        return read_mask(path / f"{frame:05d}.png")
    found = next(islice(read_masks(path), frame, None), None)
    if found is None:
        _require_frame(path, frame, frame)
    assert found is not None
    return found


def _require_frame(path: Path, frame: int, count: int) -> None:
    if frame >= count:
        raise UsageError(f"{printable(path)} has no frame {frame}.", "Frames count from 0.")


def _coco_labels(document: Mapping[str, Any], frame: int, shown: str) -> UInt8[np.ndarray, "h w"]:
    """The labels of one image; an annotation's `track_id` is its label, else its turn, from 1."""
    images = [image for image in document["images"] if _frame_of(image) == frame]
    if not images:
        raise UsageError(f"{shown} has no frame {frame}.", "Frames count from 0.")
    size: Size = (int(images[0]["height"]), int(images[0]["width"]))
    labels = np.zeros(size, np.uint8)
    of_frame = (one for one in document["annotations"] if one["image_id"] == images[0]["id"])
    for turn, annotation in enumerate(of_frame, 1):
        label = int(annotation.get("track_id", turn))
        if not 0 < label < OUTSIDE:
            raise ValueError(f"track_id {label} is no ID of an object")
        labels[decode_mask(annotation["segmentation"], size)] = label
    return labels


def _frame_of(image: Mapping[str, Any]) -> int | None:
    """The index of an image in its clip: as written by slotcli, or the last number of its name."""
    for key in ("frame_id", "frame"):
        if key in image:
            return int(image[key])
    digits = re.findall(r"\d+", Path(str(image.get("file_name", ""))).stem)
    return int(digits[-1]) if digits else None


def permitted_slots(
    correction: Correction,
    transform: Transform,
    grid: Size,
    num_slots: int,
    background: int | None,
) -> Float[Tensor, "n i j"]:
    """The fraction of each position that the corrected labels leave to each slot.

    An object's pixels are left to its slot alone; those of the background to the slot that learned
    it, or else to all slots without an object; unknown pixels to all. Raises DataError for labels
    of another size or of objects that the model does not have.
    """
    labels = correction.labels
    if labels.shape != transform.source_size:
        shapes = ["x".join(map(str, shape)) for shape in (labels.shape, transform.source_size)]
        raise DataError(
            f"--start-from: the masks are {shapes[0]} pixels, the clip {shapes[1]} (h x w).",
            "Draw on a frame of the clip's own size.",
        )
    own = sorted(set(np.unique(labels).tolist()) - {0, OUTSIDE})
    taken = [label - 1 for label in own]
    if wrong := [slot + 1 for slot in taken if slot >= num_slots or slot == background]:
        raise DataError(
            f"--start-from: object {wrong[0]} is none of the model's.",
            f"IDs are 1 to {num_slots}"
            + ("" if background is None else f"; {background + 1} is the background's, written 0")
            + ".",
        )
    free = [slot for slot in range(num_slots) if slot not in taken] or list(range(num_slots))
    top, left, height, width = transform.crop
    inside = labels[top : top + height, left : left + width]
    permitted = np.zeros((num_slots, *grid), np.float32)
    permitted[:] = _on_grid(inside == OUTSIDE, grid)
    permitted[free if background is None else [background]] += _on_grid(inside == 0, grid)
    for label in own:
        permitted[label - 1] += _on_grid(inside == label, grid)
    return torch.from_numpy(permitted)


def _on_grid(mask: Bool[np.ndarray, "h w"], grid: Size) -> Float[np.ndarray, "i j"]:
    """The fraction of each position that a mask covers."""
    area = mask.astype(np.float32)
    shrinks = grid[0] <= mask.shape[0] and grid[1] <= mask.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(area, (grid[1], grid[0]), interpolation=method))
