"""Distinguishes slotcli's own output from footage, even if it was moved or renamed.

Overlays, strips and masks are videos and images too: mistaken for clips, they would be decomposed
again, and used for training.
"""

import json
import re
from io import FileIO
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from slotcli.files.layout import OVERLAY, PAGE, RESULT, SLOT_FILE, STRIP, TRACKS_CSV

DEFAULT_OUT = "slotcli-out"

# Metadata of every image and video of masks or for viewing, and of no other file.
MARK = "Made by slotcli: not footage"

_RESULT_SCHEMA = "slotcli.result/"
_OF_A_RESULT = frozenset((SLOT_FILE, OVERLAY, STRIP, PAGE, TRACKS_CSV))
_OF_A_RUN = frozenset(("log.jsonl", "log.csv"))
_OF_A_MODEL = frozenset(("model.toml", "weights.safetensors"))
_OF_AN_EXPORT = frozenset(("objects", "alpha"))
_SHEET = re.compile(r"step-[0-9]{8}\.png")
_FRAME = re.compile(r"[0-9]{5}\.png")
_LABEL = re.compile(r"[1-9][0-9]{0,2}")
_MARK_BYTES = 1 << 16  # at either end of a video, which contain its tags
_MAX_LABELS = 64  # a gray frame with more distinct values has shades, not labels
# First colours of the palette of DAVIS and PASCAL VOC, a standard of the field.
_PALETTE = bytes.fromhex("000000 800000 008000 808000 000080 800080 008080 808080")


def describe_own_folder(folder: Path, names: set[str]) -> str | None:
    """Description of a folder with `names` if slotcli wrote it, otherwise None. Raises OSError."""
    if folder.name == DEFAULT_OUT or is_result(folder, names):
        return "results of slotcli"
    if names >= _OF_A_RUN:
        return "training runs of slotcli"
    if names >= _OF_A_MODEL:
        return "models of slotcli"
    if folder.name in _OF_AN_EXPORT and names and all(map(_LABEL.fullmatch, names)):
        labels = (path for path in folder.iterdir() if path.is_dir())
        if all(_FRAME.fullmatch(path.name) for label in labels for path in label.iterdir()):
            return "masks that slotcli exported"
    return None


def is_result(folder: Path, names: set[str]) -> bool:
    """Whether a folder with `names` is a result, complete or with some files removed."""
    if {RESULT, SLOT_FILE} <= names or len(names & _OF_A_RESULT) > 2:
        return True
    if RESULT not in names:
        return False  # other folders may have a file of one such name
    try:
        with (folder / RESULT).open("rb") as file:
            schema = json.loads(file.read(1 << 20)).get("schema")
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
    return isinstance(schema, str) and schema.startswith(_RESULT_SCHEMA)


def is_own_image(path: Path, image: Image.Image, beside: set[str]) -> bool:
    """Whether slotcli wrote an opened image; `beside` are the names in its folder."""
    if image.info.get("Comment") == MARK or _SHEET.fullmatch(path.name):
        return True
    return path.name == "curves.png" and bool(beside & _OF_A_RUN)


def is_mask_image(image: Image.Image) -> bool:
    """Whether an opened image holds labels: black and white, or in the standard palette."""
    if image.mode == "1":
        return image.format == "PNG"
    if image.mode != "P" or image.palette is None:
        return False
    colours = bytes(image.palette.palette)[: len(_PALETTE)]
    return len(colours) >= 6 and _PALETTE.startswith(colours)


def is_own_video(path: Path) -> bool:
    """Whether a video has the mark, or is a gray video of labels. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(_MARK_BYTES)
        file.seek(max(0, file.seek(0, 2) - _MARK_BYTES))
        if MARK.encode() in start or MARK.encode() in file.read():
            return True
    if b"FFV1" not in start:
        return False
    try:
        options = {"protocol_whitelist": "none"}
        with FileIO(path) as file, av.open(file, "r", options=options) as video:
            if video.streams.video[0].format.name != "gray":
                return False
            values = [np.unique(frame.to_ndarray()) for frame in islice(video.decode(video=0), 2)]
    except (FFmpegError, ValueError, IndexError, AttributeError):
        return False
    labels = np.concatenate([*values, np.zeros(0, np.uint8)])
    return len(values) > 0 and bool(((labels < _MAX_LABELS) | (labels == 255)).all())


def png_mark() -> PngInfo:
    """The mark, for the writers of PNG files."""
    info = PngInfo()
    info.add_text("Comment", MARK)
    return info
