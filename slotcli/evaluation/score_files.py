"""Files of scores: a table with a line per row of every clip, and a summary."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from slotcli.evaluation.model_scores import IDENTITY, ClipScores
from slotcli.evaluation.protocol import PROTOCOL_SCORES, ProtocolName
from slotcli.evaluation.segmentation import mean_of_defined
from slotcli.files.writing import output_errors, whole_file

SUMMARY, PER_CLIP = "evaluation.json", "clips.csv"
PER_FRAME = "_per_frame"  # suffix of columns with means over frames


@contextmanager
def clip_table(
    out: Path | None,
    labels: Sequence[str],
    pictures: Sequence[str],
    protocol: ProtocolName | None = None,
) -> Iterator[Callable[[ClipScores], None]]:
    """Yield a function that writes a clip's lines to OUT/clips.csv; without `out` it does nothing.

    The columns are the scores of `labels`, the same per frame if they have one, those of
    `pictures`, and those of a protocol under its name, means over the clip's samples; an undefined
    score is an empty cell. When the context ends without an error the file
    is in place, and an older summary, which would contradict it, is removed. Raises as
    `output_errors`.
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
        published = [] if protocol is None else list(PROTOCOL_SCORES)
        writer.writerow(
            ["clip", "row", *labels, *(name + PER_FRAME for name in single), *pictures]
            + [f"{protocol}_{name}" for name in published]
        )

        def write(clip: ClipScores) -> None:
            for row in dict.fromkeys([*clip.video, *clip.pictures]):
                video, frames = clip.video.get(row, {}), clip.frames.get(row, {})
                drawn = clip.pictures.get(row, {})
                writer.writerow(
                    [clip.name, row]
                    + [video.get(name) for name in labels]
                    + [frames.get(name) for name in single]
                    + [drawn.get(name) for name in pictures]
                    + [
                        mean_of_defined(clip.protocol.get(row, {}).get(name, []))
                        for name in published
                    ]
                )

        yield write
        text.detach()
        (out / SUMMARY).unlink(missing_ok=True)


def write_summary(out: Path, summary: dict[str, Any]) -> None:
    """Write OUT/evaluation.json, the last file, so it marks completion. Raises as `whole_file`."""
    with whole_file(out / SUMMARY) as file:
        file.write(json.dumps(summary, indent=1, sort_keys=True).encode() + b"\n")
