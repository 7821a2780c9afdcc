"""How much disk a result takes, before it is begun."""

from pathlib import Path

from slotcli.errors import OutputError, printable
from slotcli.report.overlay import MAX_SIDE, fit
from slotcli.runs.machine import free_disk
from slotcli.types import Size

# Bytes a pixel and frame, seen on camera clips; scenes of much texture need more.
_OVERLAY_BYTES = 0.12
_MASK_BYTES = 0.02
_ROW_BYTES = 90  # of tracks.csv, a slot and frame
_MARGIN = 1.2


def bytes_per_frame(size: Size, num_slots: int, mask_formats: int) -> int:
    """Of overlay, masks and tracks; slots and attention come on top."""
    height, width = size
    shown_height, shown_width = fit(size, (MAX_SIDE, MAX_SIDE))
    return round(
        _OVERLAY_BYTES * shown_height * shown_width
        + _MASK_BYTES * height * width * mask_formats
        + _ROW_BYTES * num_slots
    )


def require_space(place: Path, needed: int) -> None:
    """Raises OutputError where the disk of `place` has no room for that many bytes and a fifth."""
    needed, free = round(_MARGIN * needed), free_disk(place.parent)
    if needed > free:
        raise OutputError(
            f"{printable(place)} takes about {needed >> 20} MiB, and {free >> 20} MiB are free.",
            "Free some space, or choose another --out, or fewer --masks.",
        )
