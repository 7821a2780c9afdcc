"""COCO instances, with an image per frame."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from slotcli.files.writing import output_errors, whole_file
from slotcli.tracks.formats.masked_clip import MaskedClip
from slotcli.tracks.formats.run_lengths import CATEGORIES, CATEGORY, object_runs


class CocoMaskWriter:
    """Writes one JSON file, with the annotations as a stream and the images after them.

    Ids of images and annotations count from 1. `track_id` is the label, the same in all frames;
    `frame_id` and `pts` of an image are its index, from 0, and its time in ticks. There are no
    scores, because these are annotations, not detections. Source: cocodataset.org, Data format.
    """

    def __init__(self, path: Path, clip: MaskedClip) -> None:
        self._path = path
        self._clip = clip
        self._whole = whole_file(path)
        self._annotations = 0
        self._pts: list[int] = []

    def __enter__(self) -> "CocoMaskWriter":
        self._file = self._whole.__enter__()
        head = {"info": self._clip.info(), "licenses": [], "categories": CATEGORIES}
        with output_errors(self._path):
            self._file.write(json.dumps(head)[:-1].encode() + b', "annotations": [')
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: Any) -> None:
        if kind is None:
            with output_errors(self._path):
                self._file.write(b'], "images": [')
                for index, pts in enumerate(self._pts):
                    self._element(index, self._image(index, pts))
                self._file.write(b"]}\n")
        self._whole.__exit__(kind, *details)

    def write(
        self,
        labels: UInt8[np.ndarray, "h w"],
        pts: int,
        duration: int,
        picture: UInt8[np.ndarray, "h w 3"] | None = None,
    ) -> None:
        """Add an image and its objects. Raises: OutputError and its kin."""
        self._pts.append(pts)
        with output_errors(self._path):
            for runs in object_runs(labels):
                annotation = {
                    "id": self._annotations + 1,
                    "image_id": len(self._pts),
                    "category_id": CATEGORY,
                    "track_id": runs.label,
                    "segmentation": {"size": list(labels.shape), "counts": runs.letters},
                    "area": runs.area,
                    "bbox": runs.box,
                    "iscrowd": 0,
                    "attributes": {"track_id": runs.label},  # read by CVAT and Datumaro
                }
                self._element(self._annotations, annotation)
                self._annotations += 1

    def _image(self, index: int, pts: int) -> dict[str, Any]:
        height, width = self._clip.size
        return {
            "id": index + 1,
            "file_name": self._clip.frame_file(index),
            "width": width,
            "height": height,
            "frame_id": index,
            "pts": pts,
        }

    def _element(self, position: int, value: dict[str, Any]) -> None:
        self._file.write((",\n" if position else "\n").encode() + json.dumps(value).encode())
