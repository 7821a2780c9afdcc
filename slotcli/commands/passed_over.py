"""Reports the files that are not clips, in one line, or one per line with --verbose."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from slotcli.commands import console
from slotcli.errors import printable

if TYPE_CHECKING:
    from slotcli.video.folder_contents import PassedOver


def tell_passed_over(passed_over: "Iterable[PassedOver]", *, recorded: bool = True) -> None:
    """Reports skipped files, if there are any; with `recorded` also as a JSON record."""
    from slotcli.video.finding import counted

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
        console.note(f"{counted(listed).rstrip('.')} (-v lists them).")
        return
    console.note(counted(listed))
    for one in listed:
        console.note(f"  {one.path}: {one.reason}" + (f" ({one.detail})" if one.detail else ""))
