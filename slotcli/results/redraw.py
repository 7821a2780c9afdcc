"""The page, the overlay and the strip of a result, made again from its slot file and the source."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slotcli.errors import DataError, NoInputError, printable
from slotcli.files.layout import OVERLAY, PAGE, RESULT, SLOT_FILE, STRIP, TRACKS
from slotcli.files.places import locked, work_folder
from slotcli.files.writing import output_errors
from slotcli.report.overlay import OPACITY, OverlayWriter
from slotcli.report.page import write_report
from slotcli.report.strip import StripBuilder
from slotcli.results.provenance import report_page
from slotcli.results.reconstruct import recorded_ids, recorded_labelling, recorded_time_base
from slotcli.results.source_frames import opened_source, source_pictures
from slotcli.tracks.slot_file import SlotFile, read_slot_file
from slotcli.tracks.statistics import read_tracks_json

_PICTURES = (OVERLAY, STRIP)


def write_result_report(
    folder: Path, video: Path | None, progress: Callable[[int, int], None]
) -> list[Path]:
    """Writes report.html, overlay.mp4 and strip.png of a result again; returns their paths.

    Each has the bytes that `decompose` wrote, if by this version. `video` is the source if it is no
    longer at the path in result.json. Where there is no source, only the page is written, and
    NoInputError raised. Raises DataError where files of the result are damaged or `video` is
    another clip, BusyError where another run has locked it, and the writers' errors.
    """
    slot_file = read_slot_file(folder / SLOT_FILE)
    told = _told(folder / RESULT)
    summaries = read_tracks_json(folder / TRACKS)
    if {own.id for own in summaries} != set(recorded_ids(slot_file)):
        raise DataError(
            f"{printable(folder / TRACKS)} is of other slots.",
            "Make the result again: slotcli decompose.",
        )
    source = video or Path(told["source"]["path"])
    found = video is not None or source.exists()
    with locked(folder), work_folder(folder / PAGE) as work:
        made = [PAGE]
        if found:
            _draw(slot_file, source, work, progress)
            made += _PICTURES
        shown = [name for name in _PICTURES if found or (folder / name).is_file()]
        page = report_page(
            slot_file.metadata,
            summaries,
            told["warnings"],
            told["seconds"],
            told.get("verdict"),
            pictures=shown,
        )
        write_report(work / PAGE, page)
        for name in made:
            with output_errors(folder / name):
                (work / name).replace(folder / name)
    if not found:
        raise NoInputError(
            f"{printable(source)}: the source is gone; of {printable(folder)} only {PAGE} is new.",
            "Name the clip with --video, to draw overlay and strip too.",
        )
    return [folder / name for name in made]


def _draw(
    slot_file: SlotFile, source: Path, work: Path, progress: Callable[[int, int], None]
) -> None:
    labelling = recorded_labelling(slot_file)
    size, count = labelling.transform.source_size, len(slot_file.pts)
    strip = StripBuilder(OPACITY)
    time_base = recorded_time_base(slot_file)
    with (
        opened_source(source, size) as reader,
        OverlayWriter(work / OVERLAY, size, time_base, OPACITY) as overlay,
    ):
        for index, picture in enumerate(source_pictures(slot_file, reader)):
            labels = labelling.labels(slot_file.attention[index], picture)
            pts, duration = int(slot_file.pts[index]), int(slot_file.duration[index])
            overlay.write(picture, labels, pts, duration)
            strip.add(picture, labels)
            progress(index + 1, count)
    strip.write(work / STRIP)


def _told(path: Path) -> dict[str, Any]:
    """The values of result.json that the page needs, their types checked."""
    try:
        told = json.loads(path.read_bytes())
        source, warnings, seconds = told["source"]["path"], told["warnings"], told["seconds"]
        if not (
            isinstance(source, str)
            and isinstance(seconds, int | float)
            and all(isinstance(warning, str) for warning in warnings)
            and isinstance(told.get("verdict"), dict | None)
        ):
            raise TypeError("it says something else than results do")
        return told
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{printable(path)} is damaged: {error}.", "Make the result again: slotcli decompose."
        ) from error
