"""Reports the files that are not clips, in one line, or one per line with --verbose."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from slotcli.commands import console
from slotcli.errors import printable

if TYPE_CHECKING:
    from slotcli.video.folder_contents import Skipped


def report_skipped(passed_over: "Iterable[Skipped]", *, recorded: bool = True) -> None:
    """Reports skipped files, if there are any; with `recorded` also as a JSON record."""
    from slotcli.video.finding import skip_summary

    listed = list(passed_over)
    if not listed:
        return
    if recorded:
        console.record(
            {
                "not_taken": dict(Counter(one.reason for one in listed)),
                "paths": {printable(one.path): one.reason for one in listed},
            }
        )
    if not console.wants_details():
        console.note(f"{skip_summary(listed).rstrip('.')} (-v lists them).")
        return
    console.note(skip_summary(listed))
    for one in listed:
        console.note(f"  {one.path}: {one.reason}" + (f" ({one.detail})" if one.detail else ""))
