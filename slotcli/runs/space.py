"""How much disk a result takes, before it is begun."""

from pathlib import Path

from slotcli.errors import OutputError, printable
from slotcli.report.overlay import MAX_SIDE, fit
from slotcli.runs.machine import free_disk
from slotcli.tracks.formats.all_formats import MaskFormat
from slotcli.types import Size

# Bytes a pixel and frame: the overlay's of camera clips, masks' of twelve ragged objects at 1080p.
_OVERLAY_BYTES = 0.15
_MASK_BYTES: dict[MaskFormat, float] = {
    "png": 0.05,
    "objects": 0.1,
    "ffv1": 0.03,
    "ytvis": 0.4,
    "coco": 0.15,
    "mots": 0.15,
    "npz": 0.05,
    "alpha": 1.6,
}
_ROW_BYTES = 90  # of tracks.csv, a slot and frame
_MARGIN = 1.2


def bytes_per_frame(
    size: Size, num_slots: int, masks: tuple[MaskFormat, ...], *, overlay: bool
) -> int:
    """Of overlay, masks and tracks; slots and attention come on top."""
    height, width = size
    shown_height, shown_width = fit(size, (MAX_SIDE, MAX_SIDE))
    return round(
        (_OVERLAY_BYTES * shown_height * shown_width if overlay else 0)
        + sum(_MASK_BYTES[name] for name in masks) * height * width
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
