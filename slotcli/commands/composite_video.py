"""The part of `slotcli reconstruct` that shows an edit in the clip's own frames."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from slotcli.commands import console
from slotcli.errors import NoInputError, UsageError

if TYPE_CHECKING:
    from slotcli.editing.plate import Fill
    from slotcli.results.reconstruct import Rendering
    from slotcli.tracks.slot_file import SlotFile

_LOSSY = (
    "H.264 changes pixels everywhere, also outside of the edit; a name that ends in .mkv keeps "
    "them bit for bit."
)


def write_composite(
    slot_file: "SlotFile",
    path: Path,
    target: Path,
    fill: "Fill",
    feather: float | None,
    video: Path | None,
    rendering: "Callable[[], Rendering]",
) -> None:
    """Writes the composite of an edited slot file at `path`, and reports how it was filled.

    `rendering` loads the model, where some pixels are to be its own. Raises as `composite`, and
    NoInputError where the source is not found.
    """
    from slotcli.editing.composite import LOSSLESS, composite, needs_model
    from slotcli.results.find import recorded_source

    if target.suffix not in (LOSSLESS, ".mp4"):
        raise UsageError(f"{target}: a composite is a .mkv or an .mp4.", "Choose such a name.")
    rendered = rendering() if needs_model(slot_file, fill) else None
    source = video or recorded_source(path)
    if source is None or not source.exists():
        raise NoInputError(
            "The clip of these slots is not where it was."
            if source
            else "Without its result, a slot file does not say where its clip is.",
            "Name it with --video.",
        )
    with console.progress("compositing frames", "frames") as meter:
        record = composite(
            slot_file,
            source,
            target,
            fill=fill,
            feather=feather,
            rendered=rendered,
            progress=meter.update,
        )
    for remark in record.remarks:
        console.warn(f"{target.name}: {remark}")
    if not record.lossless:
        console.warn(f"{target.name}: {_LOSSY}")
    frames = len(slot_file.pts)
    if console.wants_json():
        console.record({"video": str(target), "frames": frames, "composite": record.as_dict()})
    else:
        console.result(f"{target}: {frames} frames, {record.fill}")
    console.note(f"Open {target}")
