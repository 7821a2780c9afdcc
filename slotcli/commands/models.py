"""slotcli models: the shipped models, and weights from elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcli.commands import console
from slotcli.commands.command_line import Command, Group
from slotcli.commands.importing import import_into, tell_of_import
from slotcli.commands.models_fetch import fetch_model
from slotcli.commands.options import MODEL, OUTPUT, Overwrite
from slotcli.errors import CannotCreateError

if TYPE_CHECKING:
    from slotcli.files.sources import Source

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="List, show, fetch, import and pack models.",
)

Definition = Annotated[
    str | None,
    typer.Option(
        help="The published definition: a model.toml, or its name (slotcli models list). "
        "Default: the one that has the file's tensors.",
        metavar="MODEL",
        rich_help_panel=MODEL,
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", help="Model folder to write.", metavar="FOLDER", rich_help_panel=OUTPUT
    ),
]


@app.command("list", cls=Command)
def list_models() -> None:
    """List models and backbones: kind, parameters, and how to get the weights.

    Weights are here (yes, or fetched), can be fetched (slotcli models fetch NAME; size and licence
    are those of the published file), or have to be trained or imported.
    """
    from slotcli.checkpoint import DEFINITION, model_folders
    from slotcli.commands.model_sizes import parameters_of
    from slotcli.definition import load_definition
    from slotcli.files.model_folders import sources

    known = sources()
    rows = []
    for folder in model_folders():
        spec = load_definition(folder / DEFINITION)
        facts = {
            "name": folder.name,
            "kind": spec.kind,
            "parameters": parameters_of(folder, spec),
            **_weights(folder, known.get(folder.name)),
        }
        rows.append(facts)
    rows += [
        {"name": name, "kind": "backbone", "parameters": None, **_weights(None, source)}
        for name, source in known.items()
        if source.vit is not None
    ]
    for facts in rows:
        console.record(facts)
    if not console.wants_json():
        columns = ["model", "kind", "parameters", "weights", "MiB", "licence"]
        console.table("", columns, list(map(_row, rows)))


def _weights(folder: Path | None, source: "Source | None") -> dict[str, Any]:
    """Whether weights are here, and how to get them; null for what is not known or published."""
    from slotcli.files.model_folders import weights_of
    from slotcli.published.fetching import is_fetched

    fetched = source is not None and is_fetched(source)
    return {
        "weights": fetched or (folder is not None and weights_of(str(folder)) is not None),
        "fetched": fetched,
        "fetch": None if source is None else f"slotcli models fetch {source.name}",
        "mib": None if source is None else source.mib,
        "licence": None if source is None else source.licence,
        "address": None if source is None else source.address,
        "page": None if source is None else source.page,
        "sha256": None if source is None else source.sha256,
    }


def _row(facts: dict[str, Any]) -> list[str]:
    if facts["weights"]:
        weights = "fetched" if facts["fetched"] else "yes"
    else:
        weights = "fetch" if facts["fetch"] else "train"
    parameters = "" if facts["parameters"] is None else f"{facts['parameters']:,}"
    size = "?" if facts["fetch"] and facts["mib"] is None else str(facts["mib"] or "")
    return [facts["name"], facts["kind"], parameters, weights, size, facts["licence"] or ""]


@app.command("show", cls=Command)
def show_model(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name or model.toml.")],
) -> None:
    """Show a definition with every default, and the paths of its card and weights.

    Examples:
      slotcli models show tiny-64
    """
    from slotcli.build import count_parameters
    from slotcli.checkpoint import find_definition
    from slotcli.definition import load_definition, spec_json
    from slotcli.files.model_folders import sources, weights_of

    definition = find_definition(name)
    spec = load_definition(definition)
    card, weights = definition.with_name("README.md"), weights_of(name)
    files = {
        "card": str(card) if card.is_file() else None,
        "definition": str(definition),
        "weights": None if weights is None else str(weights),
        "fetch": f"slotcli models fetch {name}" if name in sources() else None,
    }
    values = spec_json(spec)
    console.record({"spec": values, "parameters": count_parameters(spec), **files})
    if not console.wants_json():
        rows = [[key, str(value)] for key, value in console.dotted(values)]
        rows.append(["(parameters)", f"{count_parameters(spec):,}"])
        rows += [[f"({key})", value or "none"] for key, value in files.items()]
        console.table("", ["key", "value"], rows)


@app.command("import", cls=Command)
def import_model(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="The authors' .ckpt, .pth, .pt, .safetensors or .npz."),
    ],
    out: Out,
    definition: Definition = None,
    overwrite: Overwrite = False,
) -> None:
    """Import the authors' weights of a published model; nothing in the file is executed.

    Examples:
      slotcli models import ytvis.ckpt -o slotcontrast
      slotcli models import model.pth --definition slotdiffusion-movi-d -o slotdiffusion
    """
    facts = import_into(out, file, definition, overwrite=overwrite)
    console.record(facts)
    tell_of_import(facts)


app.command("fetch", cls=Command)(fetch_model)


@app.command("pack", cls=Command)
def pack_model(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run, or its weights file.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Model folder, which holds the run's model.toml already.",
            metavar="FOLDER",
            rich_help_panel=OUTPUT,
        ),
    ],
    overwrite: Overwrite = False,
) -> None:
    """Copy a run's weights into a model folder at half precision, under the folder's name.

    Examples:
      slotcli models pack run -o models/mine
    """
    from slotcli.checkpoint import DEFINITION, WEIGHTS, load_model, read_tensors, save_model
    from slotcli.definition import load_definition
    from slotcli.errors import DataError

    console.phase("reading the weights")
    weights = out / WEIGHTS
    if weights.exists() and not overwrite:
        raise CannotCreateError(f"{weights}: exists already.", "Give --overwrite to replace it.")
    defined = load_definition(out / DEFINITION)
    loaded = load_model(str(run))
    # The weights contain neither the training, nor the name, nor the sampling.
    apart = {"train": True, "name": True, "decoder": {"noise_scale", "evaluations"}}
    if loaded.spec.model_dump(exclude=apart) != defined.model_dump(exclude=apart):
        raise DataError(
            f"{loaded.path}: is not the model that {out / DEFINITION} defines.", "Correct either."
        )
    tensors, metadata = read_tensors(loaded.path)
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    spec = defined.model_copy(update={"train": loaded.spec.train})
    save_model(weights, spec, half, loaded.step, metadata.get("provenance", {}))
    console.result(f"{weights}: step {loaded.step}, {weights.stat().st_size / 2**20:.1f} MiB")
