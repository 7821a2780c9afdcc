"""Exports the masks of a slot file, in any format, without a model."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path

import numpy as np

from slotcli.errors import CannotCreateError, UsageError, printable
from slotcli.files.places import work_folder
from slotcli.files.writing import output_errors
from slotcli.results.reconstruct import is_excerpt, recorded_labelling, recorded_time_base
from slotcli.results.source_frames import open_recorded_source, source_pictures
from slotcli.tracks.formats.all_formats import (
    OF_PICTURES,
    MaskFormat,
    open_mask_writers,
    place_of,
)
from slotcli.tracks.formats.masked_clip import MaskedClip
from slotcli.tracks.labelling import Edges
from slotcli.tracks.slot_file import SlotFile


def export_masks(
    slot_file: SlotFile,
    out: Path,
    formats: tuple[MaskFormat, ...],
    video: Path | None,
    progress: Callable[[int, int], None],
    *,
    edges: Edges | None = None,
) -> list[Path]:
    """Writes the masks of a slot file, the same pixels as `decompose` wrote, unless with `edges`.

    Returns the path in `out` of each format. `video` is the source, for formats and edges that need
    its pixels. Images of frames that are there already, all of them, are left as they are. Raises
    UsageError without a video, DataError where it is another clip, CannotCreateError where a path
    exists, and the writers' errors.
    """
    formats = tuple(dict.fromkeys(formats))
    if video is None and (wanting := sorted(OF_PICTURES.intersection(formats))):
        does = "--frames writes frames" if "frames" in wanting else "--masks alpha cuts objects out"
        raise UsageError(f"{does} of the video.", "Name it with --video.")
    labelling = recorded_labelling(slot_file, edges)
    if video is None and labelling.needs_frames:
        raise UsageError(
            "These masks follow the edges of the clip, which is not where it was.",
            "Name it with --video, or use --edges bilinear.",
        )
    clip = MaskedClip(
        name=printable(str(slot_file.metadata["source"].get("name", "clip"))),
        size=labelling.transform.source_size,
        time_base=recorded_time_base(slot_file),
        excerpt=is_excerpt(slot_file),
    )
    count = len(slot_file.pts)
    every = [out / place_of(name, clip) for name in formats]
    if _has_frames(out, clip, count):
        formats = tuple(name for name in formats if name != "frames")
    places = [out / place_of(name, clip) for name in formats]
    for place in places:
        if os.path.lexists(place):
            raise CannotCreateError(f"{printable(place)}: exists already.", "Choose another --out.")
    with work_folder(out / "masks") as work:
        with ExitStack() as files:
            writers = open_mask_writers(formats, work, clip, files)
            pictures: Iterator[np.ndarray | None] = repeat(None)
            if video is not None:
                reader = files.enter_context(open_recorded_source(video, clip.size))
                pictures = source_pictures(slot_file, reader)
            for index, picture in zip(range(count), pictures, strict=False):
                labels = labelling.labels(slot_file.attention[index], picture)
                pts, duration = int(slot_file.pts[index]), int(slot_file.duration[index])
                for writer in writers:
                    writer.write(labels, pts, duration, picture)
                progress(index + 1, count)
        for place in places:
            with output_errors(place):
                (work / place.name).replace(place)
    return every


def _has_frames(out: Path, clip: MaskedClip, count: int) -> bool:
    """Whether an earlier export wrote the images of all `count` frames."""
    try:
        found = set(os.listdir(out / clip.frame_folder))
    except OSError:
        return False
    return found == {Path(clip.frame_file(index)).name for index in range(count)}
