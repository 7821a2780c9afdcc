"""Scores a result's masks against hand-drawn outlines on a few frames of real clips."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from slotcli.data.formats.coco_masks import decode_mask
from slotcli.errors import DataError, NoInputError, printable
from slotcli.evaluation.baselines import BASELINES
from slotcli.files.reading import access_errors
from slotcli.tracks.masks import read_masks
from slotcli.types import OUTSIDE
from slotcli.video.reader import open_clip

# Baselines that use at most colours and positions: any model should be better.
COMPARED = ("grid", "k-means colour", "k-means colour+place")
_CHUNK = 8  # frames decoded at once
_FORMAT = "Write it as COCO does, each image with file_name (a clip's) and frame (from 0)."

Things = dict[str, Bool[np.ndarray, "h w"]]
# By the clip's file name, then by the index of the frame in its clip, from 0.
Outlines = dict[str, dict[int, Things]]
Labels = UInt8[np.ndarray, "height width"]


@dataclass(frozen=True)
class ThingScore:
    """Intersection over union, in [0, 1], of labels with one object.

    `track` is that of the one label that fits best over all of the object's frames. `frame` is that
    of each frame's best label, a mean over frames. `area` is the object's mean fraction of the
    frame. The background's label counts as 0: an object labelled background was not found.
    """

    thing: str
    frames: int
    area: float
    track: float
    frame: float


def read_outlines(path: Path) -> Outlines:
    """Read a COCO file's outlines; `track_id`, or else the category, identifies the object.

    If annotations of a frame overlap, the later one in the file is in front.

    Raises NoInputError, AccessError, and DataError if the file is not in this format.
    """
    shown = printable(path)
    with access_errors(path):
        text = path.read_bytes()
    try:
        document = json.loads(text)
        names = {each["id"]: str(each["name"]) for each in document.get("categories", [])}
        images = {each["id"]: each for each in document["images"]}
        outlines: Outlines = {}
        for image in images.values():
            outlines.setdefault(Path(image["file_name"]).name, {})[int(image["frame"])] = {}
        for each in document["annotations"]:
            image = images[each["image_id"]]
            things = outlines[Path(image["file_name"]).name][int(image["frame"])]
            name = str(each.get("track_id", names.get(each.get("category_id"))))
            mask = decode_mask(each["segmentation"], (image["height"], image["width"]))
            for other in things:
                things[other] &= ~mask
            things[name] = things[name] | mask if name in things else mask
    except (ValueError, KeyError, TypeError, OverflowError, AttributeError) as error:
        raise DataError(f"{shown} holds no outlines: {error!r}.", _FORMAT) from error
    if not any(things for frames in outlines.values() for things in frames.values()):
        raise NoInputError(f"{shown} outlines nothing.", _FORMAT)
    return outlines


def thing_scores(
    outlined: Mapping[int, Things], labels: Mapping[int, Labels]
) -> Iterator[ThingScore]:
    """The score of each object of a clip, in the order of their first outlines.

    Raises DataError if labels of an outlined frame are missing or have another size.
    """
    for index, things in outlined.items():
        for mask in things.values():
            if index not in labels:
                raise DataError(
                    f"frame {index} is outlined, but not in the result.",
                    "Decompose all frames from the first to the last that is outlined.",
                )
            if labels[index].shape != mask.shape:
                raise DataError(
                    f"outlines are drawn on {_size(mask)} pixels, masks on {_size(labels[index])}.",
                    "Draw on frames of the clip's own size.",
                )
    for name in dict.fromkeys(name for things in outlined.values() for name in things):
        pairs = [(things[name], labels[t]) for t, things in outlined.items() if name in things]
        fits = np.stack([_fits(mask, label) for mask, label in pairs])
        yield ThingScore(
            name,
            len(pairs),
            float(np.mean([mask.mean() for mask, _ in pairs])),
            float(fits.mean(0).max()),
            float(fits.max(1).mean()),
        )


def labels_of_frames(masks: Path, frame_index: Sequence[int]) -> dict[int, Labels]:
    """The labels of a result's mask file, by the frame's index in the clip."""
    return dict(zip(frame_index, read_masks(masks), strict=False))


def baseline_labels(
    source: Path, wanted: Sequence[int], num_slots: int
) -> dict[str, dict[int, Labels]]:
    """Labels, from 1 on, of the baselines of COMPARED for frames of a clip.

    Raises the errors of reading the clip, and DataError if it lacks a frame.
    """
    frames = torch.from_numpy(np.stack(_frames(source, wanted))).permute(0, 3, 1, 2)
    return {
        name: dict(zip(wanted, _from_one(name, frames, num_slots), strict=True))
        for name in COMPARED
    }


def _from_one(name: str, frames: Tensor, num_slots: int) -> UInt8[np.ndarray, "t h w"]:
    return BASELINES[name](frames, num_slots, 0) + np.uint8(1)


def _frames(source: Path, wanted: Sequence[int]) -> list[UInt8[np.ndarray, "h w 3"]]:
    frames: dict[int, Any] = {}
    with open_clip(source) as reader:
        for chunk in reader.chunks(_CHUNK):
            pairs = zip(chunk.frame_index.tolist(), chunk.frames, strict=True)
            frames |= {index: np.asarray(frame) for index, frame in pairs if index in wanted}
            if len(frames) == len(wanted):
                break
    if len(frames) < len(wanted):
        raise DataError(f"{printable(source)} lacks frames that are outlined.", "Check the clip.")
    return [frames[index] for index in wanted]


def _fits(mask: Bool[np.ndarray, "h w"], labels: Labels) -> np.ndarray:
    """Intersection over union of each label with an object in one frame."""
    common = np.bincount(labels[mask], minlength=256)
    either = np.bincount(labels.ravel(), minlength=256) + mask.sum() - common
    fits = common / np.maximum(either, 1)
    fits[[0, OUTSIDE]] = 0
    return fits


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
