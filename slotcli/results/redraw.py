"""The page, the overlay and the strip of a result, made again from its slot file and the source."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slotcli.errors import DataError, NoInputError, printable
from slotcli.files.layout import (
    OVERLAY,
    PAGE,
    PAGE_DATA,
    PAGE_VIDEO,
    RESULT,
    SLOT_FILE,
    STRIP,
    TRACKS,
)
from slotcli.files.places import locked, work_folder
from slotcli.files.writing import output_errors
from slotcli.report.clip_view import ClipView, ClipViewRecorder
from slotcli.report.overlay import OPACITY, OverlayWriter
from slotcli.report.page import PAGE_KINDS, PageKind, write_report
from slotcli.report.strip import StripBuilder
from slotcli.results.provenance import report_page
from slotcli.results.reconstruct import recorded_ids, recorded_labelling, recorded_time_base
from slotcli.results.source_frames import open_recorded_source, source_pictures
from slotcli.tracks.slot_file import SlotFile, read_slot_file
from slotcli.tracks.statistics import read_tracks_json

_LINKED = (PAGE_VIDEO, PAGE_DATA)


def write_result_report(
    folder: Path,
    video: Path | None,
    progress: Callable[[int, int], None],
    *,
    opacity: float | None = None,
    kind: PageKind | None = None,
) -> list[Path]:
    """Writes report.html, overlay.mp4 and strip.png of a result again; returns their paths.

    Each has the bytes that `decompose` wrote, if by this version and with its `opacity` and `kind`,
    which are the defaults. `video` is the source if it is no longer at the path in result.json.
    Raises NoInputError where there is no source: the page shows it. Raises DataError where files of
    the result are damaged or `video` is another clip, BusyError where another run has locked it,
    and the writers' errors; then everything stays as it was.
    """
    slot_file = read_slot_file(folder / SLOT_FILE)
    told = _read_result(folder / RESULT)
    summaries = read_tracks_json(folder / TRACKS)
    if {own.id for own in summaries} != set(recorded_ids(slot_file)):
        raise DataError(
            f"{printable(folder / TRACKS)} is of other slots.",
            "Make the result again: slotcli decompose.",
        )
    source = video or Path(told["source"]["path"])
    if video is None and not source.exists():
        raise NoInputError(
            f"{printable(source)}: the source is gone; {printable(folder)} stays as it is.",
            "Name the clip, which the page shows, with --video.",
        )
    recorded_opacity, recorded_kind = _recorded_drawing(slot_file)
    opacity = recorded_opacity if opacity is None else opacity
    kind = kind or recorded_kind
    with locked(folder), work_folder(folder / PAGE) as work:
        view = _draw(slot_file, source, work, opacity, progress)
        page = report_page(
            slot_file.metadata,
            summaries,
            told["warnings"],
            told["seconds"],
            told.get("verdict"),
            view,
            has_overlay=True,
            opacity=opacity,
        )
        write_report(work / PAGE, page, kind)
        # The page last: it needs the others.
        made = [name for name in (*_LINKED, OVERLAY, STRIP, PAGE) if (work / name).is_file()]
        for name in made:
            with output_errors(folder / name):
                (work / name).replace(folder / name)
        for name in set(_LINKED).difference(made):
            with output_errors(folder / name):
                (folder / name).unlink(missing_ok=True)
    return [folder / name for name in reversed(made)]


def _draw(
    slot_file: SlotFile,
    source: Path,
    work: Path,
    opacity: float,
    progress: Callable[[int, int], None],
) -> ClipView:
    labelling = recorded_labelling(slot_file)
    size, count = labelling.transform.source_size, len(slot_file.pts)
    ids = sorted(set(recorded_ids(slot_file)))
    strip = StripBuilder(opacity)
    time_base = recorded_time_base(slot_file)
    with open_recorded_source(source, size) as reader:
        rate, stride = reader.info.average_rate, slot_file.metadata["sampling"].get("stride") or 1
        rate = None if rate is None else rate / stride
        with (
            OverlayWriter(work / OVERLAY, size, time_base, opacity) as overlay,
            ClipViewRecorder(work / PAGE_VIDEO, size, rate) as view,
        ):
            for index, picture in enumerate(source_pictures(slot_file, reader)):
                labels = labelling.labels(slot_file.attention[index], picture)
                pts, duration = int(slot_file.pts[index]), int(slot_file.duration[index])
                overlay.write(picture, labels, pts, duration)
                strip.add(picture, labels)
                time, flags = reader.info.seconds(pts), int(slot_file.flags[index])
                view.add(picture, labels, ids, time, flags)
                progress(index + 1, count)
            found = view.finish(ids)
    strip.write(work / STRIP)
    return found


def _recorded_drawing(slot_file: SlotFile) -> tuple[float, PageKind]:
    """The opacity and the kind of page that `decompose` was given; it records no default."""
    options = slot_file.metadata["run"].get("options")
    options = options if isinstance(options, dict) else {}
    opacity, page = options.get("opacity", OPACITY), options.get("page", "single")
    if not isinstance(opacity, int | float) or not 0 <= opacity <= 1 or page not in PAGE_KINDS:
        raise DataError(
            "The slot file does not tell how its page was made.",
            "Make it again with slotcli decompose.",
        )
    return opacity, page


def _read_result(path: Path) -> dict[str, Any]:
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
