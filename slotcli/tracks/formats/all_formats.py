"""The formats of masks by name, and their paths in a result."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, cast

from slotcli.errors import UsageError, printable
from slotcli.tracks.formats.coco import CocoMaskWriter
from slotcli.tracks.formats.masked_clip import MaskedClip
from slotcli.tracks.formats.mots import MotsMaskWriter
from slotcli.tracks.formats.npz import NpzMaskWriter
from slotcli.tracks.formats.pictures import AlphaMaskWriter, FrameWriter, ObjectMaskWriter
from slotcli.tracks.formats.ytvis import YtvisMaskWriter
from slotcli.tracks.masks import Ffv1MaskWriter, MaskWriter, PngMaskWriter

MaskFormat = Literal["png", "objects", "ffv1", "ytvis", "coco", "mots", "npz", "alpha", "frames"]

# All but the frames, whose folder has the clip's name.
PLACES: dict[MaskFormat, str] = {
    "png": "masks",
    "objects": "objects",
    "ffv1": "masks.mkv",
    "ytvis": "ytvis.json",
    "coco": "coco.json",
    "mots": "mots.txt",
    "npz": "masks.npz",
    "alpha": "alpha",
}
# Their writers need the source's pixels.
OF_PICTURES: frozenset[MaskFormat] = frozenset({"alpha", "frames"})


def mask_formats(names: str | Sequence[str], *, frames: bool = False) -> tuple[MaskFormat, ...]:
    """Formats by name, each once; `none` is no format, and with `frames` the frames are one.

    Raises UsageError for another name.
    """
    names = (names,) if isinstance(names, str) else names
    for name in names:
        if name not in (*PLACES, "none"):
            raise UsageError(
                f"--masks {printable(name)}: no such choice.",
                f"Choose from {', '.join(PLACES)}, none.",
            )
    chosen = [name for name in dict.fromkeys(names) if name != "none"]
    return cast("tuple[MaskFormat, ...]", (*chosen, "frames") if frames else tuple(chosen))


def place_of(name: MaskFormat, clip: MaskedClip) -> str:
    """The path of a format's output in a result or an export."""
    return clip.frame_folder if name == "frames" else PLACES[name]


def open_mask_writers(
    formats: Iterable[MaskFormat], folder: Path, clip: MaskedClip, files: ExitStack
) -> list[MaskWriter]:
    """Open a writer per format, at its path in `folder`, which exists; `files` closes them.

    Raises: OutputError and its kin, as the writers do.
    """
    return [
        files.enter_context(_writer(name, folder / place_of(name, clip), clip))
        for name in dict.fromkeys(formats)
    ]


def _writer(name: MaskFormat, path: Path, clip: MaskedClip) -> MaskWriter:
    match name:
        case "png":
            return PngMaskWriter(path)
        case "objects":
            return ObjectMaskWriter(path)
        case "ffv1":
            return Ffv1MaskWriter(path, clip.size, clip.time_base, excerpt=clip.excerpt)
        case "ytvis":
            return YtvisMaskWriter(path, clip)
        case "coco":
            return CocoMaskWriter(path, clip)
        case "mots":
            return MotsMaskWriter(path)
        case "npz":
            return NpzMaskWriter(path, clip.size, clip.time_base)
        case "alpha":
            return AlphaMaskWriter(path, clip.size)
        case "frames":
            return FrameWriter(path)
