"""Numbers of parameters of the models of this installation, without building them."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from slotcli.files.reading import access_errors

if TYPE_CHECKING:
    from slotcli.spec import CodecModelSpec, SlotModelSpec

SIZES = "sizes.json"


def parameters_of(folder: Path, spec: "SlotModelSpec | CodecModelSpec") -> int:
    """The number of a model's parameters; counted where its definition is not the recorded one.

    The file beside the models' folders has it with the definition's hash: building all of them
    took seconds.
    """
    recorded = folder.parent / SIZES
    if recorded.is_file():
        with access_errors(recorded):
            known = json.loads(recorded.read_bytes()).get(folder.name, {})
        if known.get("definition") == definition_hash(folder):
            return int(known["parameters"])
    from slotcli.build import count_parameters

    return count_parameters(spec)


def definition_hash(folder: Path) -> str:
    """The hash of a model folder's definition, in hexadecimal digits."""
    from slotcli.checkpoint import DEFINITION

    return hashlib.sha256((folder / DEFINITION).read_bytes()).hexdigest()
