"""MOTS: a line of text per object and frame."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from slotcli.files.writing import output_errors, whole_file
from slotcli.tracks.formats.run_lengths import CATEGORY, object_runs

IDS_A_CLASS = 1000


class MotsMaskWriter:
    """Writes `frame id class height width runs`; frames from 0, the id is class * 1000 + label.

    A frame without objects has no line. Source: KITTI MOTS, the text format of its tools.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._whole = whole_file(path)
        self._frame = 0

    def __enter__(self) -> "MotsMaskWriter":
        self._file = self._whole.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._whole.__exit__(*details)

    def write(
        self,
        labels: UInt8[np.ndarray, "h w"],
        pts: int,
        duration: int,
        picture: UInt8[np.ndarray, "h w 3"] | None = None,
    ) -> None:
        """Add the lines of a frame, which have no timing. Raises: OutputError and its kin."""
        height, width = labels.shape
        with output_errors(self._path):
            for runs in object_runs(labels):
                number = CATEGORY * IDS_A_CLASS + runs.label
                line = f"{self._frame} {number} {CATEGORY} {height} {width} {runs.letters}\n"
                self._file.write(line.encode())
        self._frame += 1
