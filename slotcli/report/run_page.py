"""report.html of a training run: how it went, from files, without a network."""

from dataclasses import dataclass
from pathlib import Path

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
    """One line of an audit; `passed` is None where it was not checked."""

    label: str
    score: str
    wanted: str
    passed: bool | None


@dataclass(frozen=True)
class RunReport:
    """What the page says; facts are (label, value) in the order shown, as plain text.

    `evaluations` are a row each, of texts below `columns`. `curves` is the name of a file beside
    the page, None where there is none; `definition` is TOML.
    """

    title: str
    lead: str
    warnings: list[str]
    curves: str | None
    sheets: list[MaskSheet]
    audit_title: str
    audit: list[Check]
    columns: list[str]
    evaluations: list[list[str]]
    facts: list[tuple[str, list[tuple[str, str]]]]
    definition: str | None


def write_run_page(path: Path, report: RunReport) -> None:
    """Write the page, with everything in it escaped. Raises: OutputError and its kin."""
    write_page(path, TEMPLATE, report=report)
