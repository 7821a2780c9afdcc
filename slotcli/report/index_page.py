"""index.html: a page of links to the results of a batch."""

from dataclasses import dataclass
from pathlib import Path

from slotcli.report.page import write_page

TEMPLATE = "index.html.jinja"
# The worst first: what has to be looked at.
ORDER = ("failed", "degraded", "unfinished", "busy", "ok")


@dataclass(frozen=True)
class IndexRow:
    """One clip of a batch; `folder` is its result's, relative to the page, None without a result.

    `remark` is the reason for that, or describes losses. `seconds` is the clip's length, `size`
    (height, width) and `passed` the verdict; None where they are not known.
    """

    source: str
    folder: str | None
    status: str
    frames: int | None
    remark: str
    seconds: float | None = None
    size: tuple[int, int] | None = None
    bytes: int | None = None
    objects: int | None = None
    passed: bool | None = None


def write_index(path: Path, title: str, counts: dict[str, int], rows: list[IndexRow]) -> None:
    """Write the page, failed clips first; names are escaped. Raises: OutputError and its kin."""
    rank = {status: place for place, status in enumerate(ORDER)}
    write_page(
        path,
        TEMPLATE,
        title=title,
        counts=sorted(counts.items(), key=lambda item: rank.get(item[0], len(rank))),
        rows=sorted(rows, key=lambda row: (rank.get(row.status, len(rank)), row.source)),
        ranks=rank,
        styles=("page.css", "index.css"),
        scripts=("theme.js", "index.js"),
    )
