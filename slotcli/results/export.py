"""Exports the masks of a slot file, in any format, without a model."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from slotcli.errors import CannotCreateError, DataError, UsageError, printable
from slotcli.files.places import work_folder
from slotcli.files.reading import access_errors
from slotcli.files.writing import output_errors
from slotcli.results.reconstruct import is_excerpt, recorded_labelling, recorded_time_base
from slotcli.tracks.formats.all_formats import (
    OF_PICTURES,
    PLACES,
    MaskFormat,
    open_mask_writers,
)
from slotcli.tracks.formats.masked_clip import MaskedClip
from slotcli.tracks.labelling import Edges
from slotcli.tracks.slot_file import SlotFile
from slotcli.types import Size
from slotcli.video.images import ImageFolderReader
from slotcli.video.reader import ClipReader, open_clip
from slotcli.video.source import MAX_PIXELS


def export_masks(
    slot_file: SlotFile,
    out: Path,
    formats: tuple[MaskFormat, ...],
    video: Path | None,
    progress: Callable[[int, int], None],
    *,
    edges: Edges | None = None,
) -> None:
    """Writes the masks of a slot file, the same pixels as `decompose` wrote, unless with `edges`.

    Each format gets its own path in `out`. `video` is the source, for formats and edges that need
    its pixels. Raises UsageError without it, DataError where it is another clip, CannotCreateError
    where a path exists, and the writers' errors.
    """
    if video is None and OF_PICTURES.intersection(formats):
        raise UsageError("--masks alpha cuts objects out of the video.", "Name it with --video.")
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
    places = [out / PLACES[name] for name in dict.fromkeys(formats)]
    for place in places:
        if os.path.lexists(place):
            raise CannotCreateError(f"{printable(place)}: exists already.", "Choose another --out.")
    count = len(slot_file.pts)
    with work_folder(out / "masks") as work:
        with ExitStack() as files:
            writers = open_mask_writers(formats, work, clip, files)
            pictures: Iterator[np.ndarray | None] = repeat(None)
            if video is not None:
                reader = files.enter_context(opened_source(video, clip.size))
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


def opened_source(video: Path, size: Size) -> ClipReader | ImageFolderReader:
    """The opened source of a slot file, whatever its frame size. Raises as the reader."""
    with access_errors(video):
        return open_clip(video, max_pixels=max(MAX_PIXELS, size[0] * size[1]))


def source_pictures(
    slot_file: SlotFile, reader: ClipReader | ImageFolderReader
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The source frames of the slots; raises DataError where the reader lacks one of them."""
    time_base = recorded_time_base(slot_file)
    chunks = reader.chunks(1)
    for number, pts in zip(slot_file.frame_index, slot_file.pts, strict=True):
        chunk = next((chunk for chunk in chunks if chunk.frame_index[0] == number), None)
        if (
            chunk is None
            or reader.info.size != slot_file.transform.source_size
            or int(chunk.pts[0]) * reader.info.time_base != int(pts) * time_base
        ):
            raise DataError(
                f"{printable(reader.path)} is not the video that the slots came from.",
                "Name the file that was decomposed, unchanged.",
            )
        yield chunk.frames[0]
