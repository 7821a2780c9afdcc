"""Run-length encoding of a frame's objects in column order, as in COCO."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from pycocotools import mask as coco

from slotcli.tracks.masks import objects_in

# The one category of all objects, because the model has no classes.
CATEGORY = 1
CATEGORIES = [{"id": CATEGORY, "name": "object", "supercategory": "object"}]


@dataclass(frozen=True)
class ObjectRuns:
    """One object in one frame.

    `counts` are lengths of runs, alternately outside and inside, in column order from the upper
    left; `letters` are the same in COCO's compressed string. `box` is x, y, width, height in
    pixels.
    """

    label: int
    counts: Int64[np.ndarray, " runs"]
    letters: str
    area: int
    box: list[int]


def object_runs(labels: UInt8[np.ndarray, "h w"]) -> Iterator[ObjectRuns]:
    """The objects in a frame by ascending label, without the background and OUTSIDE."""
    columns = labels.ravel(order="F")
    start = np.flatnonzero(np.diff(columns, prepend=columns[0] ^ 1))
    end = np.append(start[1:], columns.size)
    label_of_run = columns[start]
    for label in objects_in(labels):
        own = label_of_run == label
        borders = np.stack([start[own], end[own]], axis=1).ravel()
        counts = np.diff(borders, prepend=0, append=columns.size)
        packed: Any = {"size": list(labels.shape), "counts": counts}
        packed = coco.frPyObjects(packed, *labels.shape)
        yield ObjectRuns(
            label=label,
            counts=counts,
            letters=packed["counts"].decode(),
            area=int(coco.area(packed)),
            box=[int(value) for value in coco.toBbox(packed)],
        )
