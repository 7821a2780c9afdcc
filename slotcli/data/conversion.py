"""The record that `data convert` writes beside its frames folders, with the source of each.

    SPLIT/conversion.json              this record
    SPLIT/00000000/000000.png          a frame
    SPLIT/00000000/000000_mask.png     its labels, a palette PNG

The layout is that of the authors' loaders, but lossless.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slotcli import __version__
from slotcli.errors import DataError, printable
from slotcli.files.reading import access_errors

MANIFEST = "conversion.json"
SCHEMA = "slotcli.conversion/1"


class ConvertedClip(BaseModel):
    """One clip: its name in the source, and its number of frames once it is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    video_name: str | None = None  # the source record's own name for it
    frames: int | None = None
    broken: str | None = None  # the reason why it could not be converted


class Conversion(BaseModel):
    """The clips of a split in the order of their folders, from 00000000."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["slotcli.conversion/1"] = Field(default=SCHEMA, alias="schema")
    version: str = __version__
    kind: str
    source: str
    split: str
    clips: list[ConvertedClip]


def clip_folder(number: int) -> str:
    """The name of a clip's folder."""
    return f"{number:08d}"


def read_conversion(folder: Path) -> Conversion | None:
    """The record in a split's folder; None where there is none. Raises DataError, AccessError."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    with access_errors(path):
        content = path.read_bytes()
    try:
        return Conversion.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(
            f"{printable(path)} is no record of a conversion: {first['msg']}.",
            "Remove it to read the frames without it, or convert again.",
        ) from error
