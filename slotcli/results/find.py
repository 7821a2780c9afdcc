"""Finds the results of decompose."""

import json
from pathlib import Path

from slotcli.errors import NoInputError, printable
from slotcli.evaluation.result_audit import StoredResult
from slotcli.files.layout import RESULT, SLOT_FILE


def find_results(paths: list[Path]) -> list[StoredResult]:
    """The complete results that are, or are below, given folders; a slot file means itself.

    Each is listed once, in a fixed order. Raises NoInputError where a path has none.
    """
    found: dict[Path, StoredResult] = {}
    for path in paths:
        complete = sorted(path.rglob(RESULT)) if path.is_dir() else []
        below = [slots for mark in complete if (slots := mark.with_name(SLOT_FILE)).is_file()]
        if path.is_file():
            below = [path]
        if not below:
            raise NoInputError(
                f"{printable(path)}: there is no result of slotcli decompose.", "Check the path."
            )
        for slots in below:
            found.setdefault(slots.resolve(), StoredResult(slots, recorded_source(slots)))
    return list(found.values())


def recorded_source(slots: Path) -> Path | None:
    """The clip's path in result.json; None where it has none."""
    try:
        recorded = json.loads((slots.parent / RESULT).read_bytes())["source"]["path"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Path(recorded) if isinstance(recorded, str) else None
