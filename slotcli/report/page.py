"""report.html: a page about a result that works from a file, without a network."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from slotcli.files.layout import PAGE_DATA
from slotcli.files.writing import output_errors, whole_file
from slotcli.report.clip_data import clip_data, events
from slotcli.report.clip_view import ClipView
from slotcli.report.slot_rows import (
    CHART,
    data_url,
    short_clock,
    slot_rows,
    unused_sentence,
)
from slotcli.tracks.statistics import SlotSummary

TEMPLATE = "report.html.jinja"
PageKind = Literal["single", "linked"]
PAGE_KINDS: tuple[PageKind, ...] = ("single", "linked")
Facts = list[tuple[str, str]]


@dataclass(frozen=True)
class JudgedFigure:
    """A figure of the verdict as text; `passed` is None where it is not known."""

    title: str
    value: str
    wanted: str
    passed: bool | None


@dataclass(frozen=True)
class LinkedFile:
    """A file or folder beside the page, and in words what it holds."""

    name: str
    holds: str


@dataclass(frozen=True)
class Report:
    """Contents of the page; facts are (label, value) in order, as plain text.

    `passed` and `verdict` are the verdict on the result and its sentence, `trust` are further
    sentences on its reliability, `limits` those of the model. `overlay` is the name of a video
    beside the page, None if there is no such file.
    """

    title: str
    passed: bool | None
    verdict: str
    trust: list[str]
    figures: list[JudgedFigure]
    warnings: list[str]
    limits: list[str]
    source: Facts
    model: Facts
    run: Facts
    slots: list[SlotSummary]
    files: list[LinkedFile]
    overlay: str | None
    opacity: float
    view: ClipView


def write_report(path: Path, report: Report, kind: PageKind = "single") -> None:
    """Write the page; names are escaped, and bytes in them that are not Unicode become \\udcXX.

    A `single` page holds the clip, whose video file is deleted; a `linked` one reads it from that
    file and PAGE_DATA beside the page. Raises: OutputError and its kin.
    """
    view = report.view
    data = ""
    if kind == "linked":
        text = clip_data(view, "" if view.video is None else view.video.name)
        with whole_file(path.parent / PAGE_DATA) as file:
            file.write(f"window.slotcliClip = {text};\n".encode())
    elif view.video is None:
        data = clip_data(view, "")
    else:
        with output_errors(view.video):
            video = view.video.read_bytes()
            view.video.unlink()
        data = clip_data(view, data_url("video/mp4", video))
    write_page(
        path,
        TEMPLATE,
        report=report,
        rows=slot_rows(report.slots, view),
        unused=unused_sentence(report.slots),
        events=events(view),
        count=len(view.frames),
        still=data_url("image/jpeg", view.still),
        chart=CHART,
        data=data,
        linked=PAGE_DATA if kind == "linked" else None,
        has_video=view.video is not None,
        styles=("page.css", "report.css"),
        scripts=("theme.js", "frames.js", "report.js"),
    )


def write_page(
    path: Path,
    name: str,
    *,
    styles: Sequence[str] = ("page.css",),
    scripts: Sequence[str] = (),
    **values: Any,
) -> None:
    """Write a page from the template `name` of this folder, with its styles and scripts inside.

    Raises: OutputError and its kin.
    """
    page = files("slotcli.report")

    def content(names: Sequence[str]) -> str:
        return "".join(page.joinpath(own).read_text(encoding="utf-8") for own in names)

    text = rendered(name, style=content(styles), script=content(scripts), **values)
    with whole_file(path) as file:
        file.write(text.encode("utf-8", errors="backslashreplace"))


def rendered(name: str, **values: Any) -> str:
    """The text of the template `name` of this folder, with all values escaped."""
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("slotcli", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short_clock"] = short_clock
    environment.filters["link"] = link
    return environment


def link(path: str) -> str:
    """Percent-encodes a relative path for a browser."""
    return quote(os.fsencode(path))
