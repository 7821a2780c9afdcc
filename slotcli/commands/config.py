"""slotcli config: write, show and check model definitions."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotcli.commands import console
from slotcli.commands.command_line import HERE_OR_OUT, Command, Group
from slotcli.commands.options import MODEL, OUTPUT, Overrides, Overwrite, output_path

if TYPE_CHECKING:
    from slotcli.spec import CodecModelSpec, SlotModelSpec

app = typer.Typer(cls=Group, no_args_is_help=True, help="Write, show and check model definitions.")

_DEFINITION = "A model.toml, its folder, or the name of a shipped model."


@app.command(cls=Command)
def init(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help=f"The file to write; the model is named after it.  {HERE_OR_OUT}"
        ),
    ] = None,
    like: Annotated[
        str,
        typer.Option(
            help="The definition to copy (slotcli models list).",
            metavar="MODEL",
            rich_help_panel=MODEL,
        ),
    ] = "tiny-64",
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The file, if not given as an argument.",
            metavar="FILE",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a model definition to edit, with a comment on every key.

    Examples:
      slotcli config init mine.toml
      slotcli config init mine.toml --like slotdiffusion-movi-d --set num_slots=11
    """
    from slotcli.definition import write_new_definition

    path = output_path(file, out, "FILE")
    write_new_definition(path, _load(like, overrides), overwrite=overwrite)
    console.record({"path": str(path), "like": like})
    if not console.wants_json():
        console.result(
            f"{path}: a copy of {like}. Check it with: slotcli config validate "
            f"{shlex.quote(str(path))}"
        )


@app.command(cls=Command)
def show(
    definition: Annotated[str, typer.Argument(metavar="MODEL", help=_DEFINITION)],
    overrides: Overrides = None,
) -> None:
    """Print a definition with every default, as TOML.

    Examples:
      slotcli config show tiny-64 --set train.steps=100
    """
    from slotcli.definition import spec_json, toml_value

    values = spec_json(_load(definition, overrides))
    console.record(values)
    if not console.wants_json():
        for key, value in console.dotted(values):
            if value is not None:  # TOML has no null: a missing key means the same
                for line in f"{key} = {toml_value(value)}".splitlines():
                    console.result(line)


@app.command(cls=Command)
def validate(
    definitions: Annotated[list[str], typer.Argument(metavar="MODEL", help=_DEFINITION)],
    overrides: Overrides = None,
) -> None:
    """Check definitions: every key and value, and that the networks fit together.

    Examples:
      slotcli config validate mine.toml
    """
    for definition in definitions:
        spec = _load(definition, overrides)
        parameters = _try_to_build(spec)
        console.record({"definition": definition, "name": spec.name, "parameters": parameters})
        if not console.wants_json():
            console.result(f"{definition}: a valid {spec.kind}, {parameters:,} parameters")


@app.command(cls=Command)
def schema() -> None:
    """Print the JSON schema of definitions, for editors and programs.

    Examples:
      slotcli config schema > model.schema.json
    """
    from pydantic import TypeAdapter

    from slotcli.spec import ModelSpec

    values = TypeAdapter(ModelSpec).json_schema()
    console.record(values)
    if not console.wants_json():
        for line in json.dumps(values, indent=1, sort_keys=True).splitlines():
            console.result(line)


def _load(reference: str, overrides: list[str] | None) -> "CodecModelSpec | SlotModelSpec":
    from slotcli.checkpoint import find_definition
    from slotcli.definition import load_definition

    return load_definition(find_definition(reference), tuple(overrides or ()))


def _try_to_build(spec: "CodecModelSpec | SlotModelSpec") -> int:
    """The number of parameters. Raises ConfigError where the networks or data cannot be built."""
    from slotcli.build import count_parameters
    from slotcli.data.datasets import open_dataset
    from slotcli.spec import SynthSpec

    if isinstance(spec.train.data, SynthSpec):
        open_dataset(spec.train.data, spec.size)
    return count_parameters(spec)
