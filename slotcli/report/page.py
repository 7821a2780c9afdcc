"""report.html: a page about a result that works from a file, without a network."""

import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined

from slotcli.files.writing import whole_file
from slotcli.report.overlay import slot_colours
from slotcli.tracks.statistics import SlotSummary

TEMPLATE = "report.html.jinja"
INDEX_TEMPLATE = "index.html.jinja"


@dataclass(frozen=True)
class Report:
    """Contents of the page; facts are (label, value) in order, as plain text.

    `trust` is a sentence on the reliability of the result; `overlay` and `strip` are the names of
    files beside the page, None if there is no such file.
    """

    title: str
    trust: str
    warnings: list[str]
    source: list[tuple[str, str]]
    model: list[tuple[str, str]]
    run: list[tuple[str, str]]
    slots: list[SlotSummary]
    overlay: str | None
    strip: str | None


@dataclass(frozen=True)
class IndexRow:
    """One clip of a batch; `folder` is its result's, relative to the page, None without a result.

    `remark` is the reason for that, or describes losses.
    """

    source: str
    folder: str | None
    status: str
    frames: int | None
    remark: str


def write_report(path: Path, report: Report) -> None:
    """Write the page; names are escaped, and bytes in them that are not Unicode become \\udcXX.

    Raises: OutputError and its kin.
    """
    colours = [tuple(colour) for colour in slot_colours().tolist()]
    write_page(path, TEMPLATE, report=report, colours=colours)


def write_index(path: Path, title: str, counts: dict[str, int], rows: list[IndexRow]) -> None:
    """Write a page of links to a batch's results, with a strip of each; as `write_report`."""
    write_page(path, INDEX_TEMPLATE, title=title, counts=counts, rows=rows)


def write_page(path: Path, name: str, **values: Any) -> None:
    """Write a page from the template `name` of this folder. Raises: OutputError and its kin."""
    style = files("slotcli.report").joinpath("page.css").read_text(encoding="utf-8")
    text = rendered(name, style=style, **values)
    with whole_file(path) as file:
        file.write(text.encode("utf-8", errors="backslashreplace"))


def rendered(name: str, **values: Any) -> str:
    """The HTML of the template `name` of this folder, with all values escaped."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["clock"] = clock
    environment.filters["hex_colour"] = hex_colour
    environment.filters["link"] = link
    source = files("slotcli.report").joinpath(name).read_text(encoding="utf-8")
    return environment.from_string(source).render(**values)


def link(path: str) -> str:
    """Percent-encodes a relative path for a browser."""
    return quote(os.fsencode(path))


def clock(seconds: float | int) -> str:
    """Formats seconds as 0:07.250 or 1:02:07.250, with a minus if negative."""
    sign = "-" if seconds < 0 else ""
    milliseconds = round(abs(seconds) * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    rest = f"{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"
    return f"{sign}{hours}:{minutes:02d}:{rest}" if hours else f"{sign}{minutes}:{rest}"


def hex_colour(colour: tuple[int, int, int]) -> str:
    """RGB as #rrggbb."""
    return "#" + bytes(colour).hex()
