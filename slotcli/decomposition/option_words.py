"""Options of decompose as people write them, on the command line and in Python."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from slotcli.decomposition.request import DecomposeOptions
from slotcli.decomposition.resets import Reset
from slotcli.errors import UsageError, require_choice
from slotcli.report.overlay import OPACITY
from slotcli.report.page import PageKind
from slotcli.tracks.fitting import Fit
from slotcli.tracks.formats.all_formats import mask_formats
from slotcli.tracks.labelling import Edges
from slotcli.tracks.pieces import Pieces
from slotcli.types import Size
from slotcli.video.selection import Selection
from slotcli.video.source import MAX_PIXELS

MOST_SIDE = 4096  # pixels
_LEAST = {"slots": 2, "slot_seed": 0, "chunk": 1, "stride": 1, "max_frames": 1, "max_pixels": 1}
_LEAST |= {"start": 0, "end": 0, "min_area": 0, "max_bad": 0}


def given_options(
    *,
    masks: str | Sequence[str] = "png",
    frames: bool = False,
    overlay: bool = True,
    opacity: float | None = None,
    page: PageKind | None = None,
    background: str | int | Sequence[int] = "auto",
    edges: Edges | None = None,
    min_area: float = 0.0,
    largest_component: bool = False,
    fit: Fit | None = None,
    size: str | int | Size | None = None,
    reset: str = "never",
    slots: int | None = None,
    slot_seed: int | None = None,
    cyclic: bool = False,
    start: float = 0.0,
    end: float | None = None,
    stride: int = 1,
    max_frames: int | None = None,
    max_bad: float = 0.02,
    strict: bool = False,
    max_pixels: int = MAX_PIXELS,
    chunk: int = 16,
    overwrite: bool = False,
) -> DecomposeOptions:
    """The options of a request. Raises UsageError for a value that has no meaning."""
    _require_least(locals())
    require_choice("--edges", edges, get_args(Edges))
    require_choice("--fit", fit, get_args(Fit))
    require_choice("--page", page, get_args(PageKind))
    if opacity is not None and not 0 <= opacity <= 1:
        raise UsageError(f"--opacity {opacity}: not a share.", "Use 0 to 1.")
    if end is not None and end <= start:
        raise UsageError(f"--end {end} is not after --start {start}.", "Choose a later end.")
    return DecomposeOptions(
        masks=mask_formats(masks, frames=frames),
        overlay=overlay,
        opacity=OPACITY if opacity is None else opacity,
        page=page or "single",
        background=parse_background(background),
        edges=edges,
        pieces=Pieces(min_area, largest_component),
        fit=fit,
        size=parse_size(size),
        chunk=chunk,
        selection=Selection(start, end, stride, max_frames),
        reset=Reset.parse(reset),
        slots=slots,
        slot_seed=slot_seed,
        cyclic=cyclic,
        max_bad=max_bad,
        strict=strict,
        max_pixels=max_pixels,
        overwrite=overwrite,
    )


def parse_background(
    value: str | int | Sequence[int],
) -> tuple[int, ...] | Literal["auto", "none"]:
    """--background: auto, none, or the slots of IDs. Raises UsageError for anything else."""
    if isinstance(value, str) and (value == "auto" or value == "none"):
        return value
    parts = [value] if isinstance(value, int) else value
    try:
        ids = [int(part) for part in (parts.split(",") if isinstance(parts, str) else parts)]
    except ValueError:
        raise UsageError(
            f"--background {value}: not an ID.",
            "Use auto, none, an object's ID: 1, 2, ..., or several as 1,4.",
        ) from None
    return tuple(sorted({own - 1 for own in ids}))  # the slots of these IDs


def parse_size(value: str | int | Size | None) -> int | Size | None:
    """--size: N, or height x width. Raises UsageError for anything else."""
    if value is None:
        return None
    text = "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdecimal() for side in sides):
        raise UsageError(f"--size {text}: not a size.", "Use such as 160, or 96x160.")
    if any(int(side) > MOST_SIDE for side in sides):
        raise UsageError(f"--size {text}: too large.", f"Use sides of at most {MOST_SIDE} pixels.")
    return (int(sides[0]), int(sides[1])) if len(sides) == 2 else int(sides[0])


def _require_least(given: dict[str, Any]) -> None:
    for name, least in _LEAST.items():
        if given[name] is not None and not given[name] >= least:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} {given[name]}: too small.", f"Use {least} or more.")
