"""A result as notebooks and terminals show it: a few frames, and the table of its objects."""

from base64 import b64encode
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from slotcli.errors import SlotcliError, printable
from slotcli.report.overlay import OPACITY, fit, overlay_frame, shrink
from slotcli.report.page import rendered
from slotcli.report.slot_rows import format_time, object_colour
from slotcli.types import Size

if TYPE_CHECKING:
    from slotcli.results.result import Result
    from slotcli.results.tables import Columns

COLUMNS = ("ID", "area", "in frames", "first", "last", "confidence")
_TEMPLATE = "notebook.html.jinja"
_IMAGES = 5
_LARGEST: Size = (180, 240)
_GREY = 128


def result_html(result: "Result") -> str:
    """A fragment of HTML that needs no other file; names are escaped.

    Raises as `Result.tracks`; a clip that is gone is reported in it, and its masks are on grey.
    """
    chosen = np.unique(np.linspace(0, len(result) - 1, _IMAGES).round().astype(int)).tolist()
    frames, remark = thumbnails(result, chosen, _LARGEST)
    images = [
        {
            "row": row,
            "time": format_time(float(result.times[row])),
            "data": _jpeg(frame),
            "width": frame.shape[1],
            "height": frame.shape[0],
        }
        for row, frame in zip(chosen[: len(frames)], frames, strict=True)
    ]
    cells_of = object_cells(result.object_columns)
    empty = len(result.object_columns["id"]) - len(cells_of)
    height, width = result.slot_file.transform.source_size
    return rendered(
        _TEMPLATE,
        title=printable(str(result.slot_file.metadata["source"].get("name", result.path.name))),
        facts=f"{len(result)} frames of {width} x {height}, "
        f"{len(cells_of) - (0 in cells_of)} objects{' and the background' * (0 in cells_of)}; "
        f"{empty} slots took no pixel",
        warnings=result.warnings,
        images=images,
        columns=COLUMNS,
        remark=remark,
        objects=[
            {"cells": cells, "colour": object_colour(number)} for number, cells in cells_of.items()
        ],
    )


def thumbnails(
    result: "Result", rows: list[int], largest: Size
) -> tuple[list[UInt8[np.ndarray, "h w 3"]], str | None]:
    """Small overlays of some frames, and a remark where they are without the clip.

    Their colours are then on grey; where the masks need the clip too, there are none.
    """
    remark = None
    try:
        clip = result.frames()
    except SlotcliError as error:
        clip, remark = None, f"{error.what} Colours are on grey."
    pictures = []
    try:
        for row in rows:
            labels = result.masks[row]
            frame = np.full((*labels.shape, 3), _GREY, np.uint8) if clip is None else clip[row]
            size = fit((labels.shape[0], labels.shape[1]), largest)
            pictures.append(overlay_frame(*shrink(frame, labels, size), OPACITY))
    except SlotcliError as error:
        return [], error.what
    return pictures, remark


def object_cells(objects: "Columns") -> dict[int, list[str]]:
    """The objects that appear, by ID, as text in the order of `COLUMNS`."""
    rows = zip(*(column.tolist() for column in objects.values()), strict=True)
    every = [dict(zip(objects, values, strict=True)) for values in rows]
    return {summary["id"]: _cells(summary) for summary in every if summary["frames_present"]}


def _cells(summary: dict[str, Any]) -> list[str]:
    return [
        f"{summary['id']} (background)" if summary["is_background"] else str(summary["id"]),
        f"{100 * summary['mean_visible_fraction']:.1f} %",
        str(summary["frames_present"]),
        format_time(summary["first_time"]),
        format_time(summary["last_time"]),
        f"{summary['mean_confidence']:.2f}",
    ]


def _jpeg(frame: UInt8[np.ndarray, "h w 3"]) -> str:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(frame).save(file, format="JPEG", quality=85)
    return b64encode(file.getvalue()).decode()
