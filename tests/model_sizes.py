"""Counts the parameters of every model and writes models/sizes.json: python tests/model_sizes.py"""

import json

from slotcli.build import count_parameters
from slotcli.checkpoint import DEFINITION, model_folders
from slotcli.commands.model_sizes import SIZES, definition_hash
from slotcli.definition import load_definition


def counted() -> str:
    """The file's text as it should be."""
    rows = {
        folder.name: {
            "definition": definition_hash(folder),
            "parameters": count_parameters(load_definition(folder / DEFINITION)),
        }
        for folder in model_folders()
    }
    return json.dumps(rows, indent=1) + "\n"


if __name__ == "__main__":
    (model_folders()[0].parent / SIZES).write_text(counted())
