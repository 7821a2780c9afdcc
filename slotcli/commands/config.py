"""slotcli config: begin a definition, look at definitions, check them, and what may stand there."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotcli.commands import console
from slotcli.commands.options import Overrides

if TYPE_CHECKING:
    from slotcli.spec import CodecModelSpec, SlotModelSpec

app = typer.Typer(no_args_is_help=True, help="Definitions of models: init, show, validate, schema.")

_DEFINITION = "A model.toml, its folder, or the name of a model that came along."


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write; the model is named after it.")],
    like: Annotated[str, typer.Option(help="The definition to start from.")] = "tiny-64",
    overrides: Overrides = None,
) -> None:
    """Write a definition to start from, with a remark on every knob; `models list` has more."""
    from slotcli.training.definition_text import write_new_definition

    write_new_definition(path, _load(like, overrides))
    console.record({"path": str(path), "like": like})
    if not console.wants_json():
        console.result(f"{path}: like {like}; check it with: slotcli config validate {path}")


@app.command()
def show(
    definition: Annotated[str, typer.Argument(help=_DEFINITION)],
    overrides: Overrides = None,
) -> None:
    """Print a definition with every default filled in, as TOML that can be read back."""
    from slotcli.spec import spec_json
    from slotcli.training.definition_text import toml_value

    values = spec_json(_load(definition, overrides))
    console.record(values)
    if not console.wants_json():
        for key, value in console.dotted(values):
            if value is not None:  # TOML has no null: a missing key means the same
                for line in f"{key} = {toml_value(value)}".splitlines():
                    console.result(line)


@app.command()
def validate(
    definitions: Annotated[list[str], typer.Argument(help=_DEFINITION)],
    overrides: Overrides = None,
) -> None:
    """Check definitions: every key and value, and that the networks fit each other."""
    for definition in definitions:
        spec = _load(definition, overrides)
        parameters = _try_to_build(spec)
        console.record({"definition": definition, "name": spec.name, "parameters": parameters})
        if not console.wants_json():
            console.result(f"{definition}: a valid {spec.kind}, {parameters:,} parameters")


@app.command()
def schema() -> None:
    """Print the JSON schema of definitions, for editors and programs."""
    from pydantic import TypeAdapter

    from slotcli.spec import ModelSpec

    values = TypeAdapter(ModelSpec).json_schema()
    console.record(values)
    if not console.wants_json():
        for line in json.dumps(values, indent=1, sort_keys=True).splitlines():
            console.result(line)


def _load(reference: str, overrides: list[str] | None) -> "CodecModelSpec | SlotModelSpec":
    from slotcli.checkpoint import find_definition
    from slotcli.spec import load_definition

    return load_definition(find_definition(reference), tuple(overrides or ()))


def _try_to_build(spec: "CodecModelSpec | SlotModelSpec") -> int:
    """The number of parameters. Raises ConfigError where networks or data cannot be made so."""
    from slotcli.build import count_parameters
    from slotcli.data.datasets import open_dataset
    from slotcli.spec import SynthSpec

    if isinstance(spec.train.data, SynthSpec):
        open_dataset(spec.train.data, spec.size)
    return count_parameters(spec)
