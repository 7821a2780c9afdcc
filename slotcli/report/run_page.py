"""report.html of a training run: a page that works from a file, without a network."""

from dataclasses import dataclass
from pathlib import Path

from slotcli.report.curves import Panel
from slotcli.report.page import write_page

TEMPLATE = "run.html.jinja"


@dataclass(frozen=True)
class MaskSheet:
    """A sheet of masks; `file` is relative to the page. Its size is (height, width), in pixels."""

    step: int
    file: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Check:
    """One line of an audit; `passed` is None if it was not checked."""

    label: str
    score: str
    wanted: str
    passed: bool | None


@dataclass(frozen=True)
class RunReport:
    """Contents of the page; facts are (label, value) in order, as plain text.

    `evaluations` has one row of texts per evaluation, in the order of `columns`;
    `definition` is TOML.
    """

    title: str
    lead: str
    warnings: list[str]
    curves: list[Panel]
    sheets: list[MaskSheet]
    audit_title: str
    audit: list[Check]
    columns: list[str]
    evaluations: list[list[str]]
    facts: list[tuple[str, list[tuple[str, str]]]]
    definition: str | None


def write_run_page(path: Path, report: RunReport) -> None:
    """Write the page, with all contents escaped. Raises: OutputError and its kin."""
    write_page(path, TEMPLATE, report=report, scripts=("run.js",))
