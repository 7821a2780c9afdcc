"""Scores as files: a table with a line for every row of every clip, and the summary beside it."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from slotcli.evaluation.model_scores import IDENTITY, ClipScores
from slotcli.files.writing import output_errors, whole_file

SUMMARY, PER_CLIP = "evaluation.json", "clips.csv"
PER_FRAME = "_per_frame"  # ends the columns of scores that were averaged over frames


@contextmanager
def clip_table(
    out: Path | None, labels: Sequence[str], pictures: Sequence[str]
) -> Iterator[Callable[[ClipScores], None]]:
    """Hand out what writes a clip's lines to OUT/clips.csv; without `out` it writes nothing.

    The columns are the scores of `labels`, the same per frame where they have one, and those of
    `pictures`; a score that is undefined is an empty cell. The file is there once the context ends
    well, and an older summary, which it would contradict, is not. Raises as `output_errors`.
    """
    if out is None:
        yield lambda clip: None
        return
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with whole_file(out / PER_CLIP) as file:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        single = [name for name in labels if name != IDENTITY]
        writer.writerow(["clip", "row", *labels, *(name + PER_FRAME for name in single), *pictures])

        def write(clip: ClipScores) -> None:
            for row in dict.fromkeys([*clip.video, *clip.pictures]):
                video, frames = clip.video.get(row, {}), clip.frames.get(row, {})
                drawn = clip.pictures.get(row, {})
                writer.writerow(
                    [clip.name, row]
                    + [video.get(name) for name in labels]
                    + [frames.get(name) for name in single]
                    + [drawn.get(name) for name in pictures]
                )

        yield write
        text.detach()
        (out / SUMMARY).unlink(missing_ok=True)


def write_summary(out: Path, summary: dict[str, Any]) -> None:
    """Write OUT/evaluation.json, whose presence says that all is there. Raises as `whole_file`."""
    with whole_file(out / SUMMARY) as file:
        file.write(json.dumps(summary, indent=1, sort_keys=True).encode() + b"\n")
