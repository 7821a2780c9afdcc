"""slotcli config: look at definitions, check them, and what may stand in them."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from slotcli.commands import console
from slotcli.commands.options import Overrides

if TYPE_CHECKING:
    from slotcli.spec import CodecModelSpec, SlotModelSpec

app = typer.Typer(no_args_is_help=True, help="Definitions of models: show, validate, schema.")

_DEFINITION = "A model.toml, its folder, or the name of a model that came along."


@app.command()
def show(
    definition: Annotated[str, typer.Argument(help=_DEFINITION)],
    overrides: Overrides = None,
) -> None:
    """Print a definition with every default filled in, as TOML that can be read back."""
    from slotcli.spec import spec_json

    values = spec_json(_load(definition, overrides))
    console.record(values)
    if not console.wants_json():
        for key, value in console.dotted(values):
            if value is not None:  # TOML has no null: a missing key means the same
                console.result(f"{key} = {json.dumps(value)}")


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
