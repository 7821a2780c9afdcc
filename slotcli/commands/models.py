"""slotcli models: the shipped models, and weights from elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from slotcli.commands import console
from slotcli.commands.command_line import Command, Group
from slotcli.commands.options import MODEL, OUTPUT, Overwrite
from slotcli.errors import CannotCreateError

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="List, show, import and pack models.",
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
    """List the shipped models: kind, parameters, and whether they have weights."""
    from slotcli.checkpoint import DEFINITION, WEIGHTS, model_folders
    from slotcli.commands.model_sizes import parameters_of
    from slotcli.definition import load_definition

    rows = []
    for folder in model_folders():
        spec = load_definition(folder / DEFINITION)
        facts = {
            "name": folder.name,
            "kind": spec.kind,
            "parameters": parameters_of(folder, spec),
            "weights": (folder / WEIGHTS).is_file(),
        }
        console.record(facts)
        weights = "yes" if facts["weights"] else "no"
        rows.append([folder.name, spec.kind, f"{facts['parameters']:,}", weights])
    if not console.wants_json():
        console.table("", ["model", "kind", "parameters", "weights"], rows)


@app.command("show", cls=Command)
def show_model(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name or model.toml.")],
) -> None:
    """Show a definition with every default, and the paths of its card and weights.

    Examples:
      slotcli models show tiny-64
    """
    from slotcli.build import count_parameters
    from slotcli.checkpoint import WEIGHTS, find_definition
    from slotcli.definition import load_definition, spec_json

    definition = find_definition(name)
    spec = load_definition(definition)
    card, weights = definition.with_name("README.md"), definition.with_name(WEIGHTS)
    files = {
        "card": str(card) if card.is_file() else None,
        "definition": str(definition),
        "weights": str(weights) if weights.is_file() else None,
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
    from slotcli.checkpoint import DEFINITION, WEIGHTS, file_sha256, find_definition, save_model
    from slotcli.definition import load_definition
    from slotcli.files.writing import output_errors
    from slotcli.published import first_names, import_published, recognised
    from slotcli.published.files import read_state_dict

    console.phase("reading the weights")
    content, alike = None, list[str]()
    if definition is None:
        content = read_state_dict(file)
        source, *others = recognised(content, file)
        alike = [other.parent.name for other in others]
    else:
        source = find_definition(definition)
    spec = load_definition(source)
    text = source.read_bytes()
    weights, own_definition = out / WEIGHTS, out / DEFINITION
    if not overwrite:
        if weights.exists():
            raise CannotCreateError(
                f"{weights}: exists already.", "Give --overwrite to replace it."
            )
        if own_definition.exists() and own_definition.read_bytes() != text:
            raise CannotCreateError(
                f"{own_definition}: another definition exists already.",
                "Choose another folder, or give --overwrite to replace it.",
            )
    tensors, report = import_published(file, spec, content)
    provenance = {"source": file.name, "sha256": file_sha256(file)}
    # The definition is written first: without weights it is still a model, the reverse is not.
    with output_errors(own_definition):
        out.mkdir(parents=True, exist_ok=True)
        own_definition.write_bytes(text)
    save_model(weights, spec, tensors, step=0, provenance=provenance)
    console.record(
        {
            "mapped": report.mapped,
            "averaged": report.averaged,
            "dropped": report.dropped,
            "scaled": report.scaled,
            "definition": spec.name,
            "alike": alike,
            "weights": str(weights),
            **provenance,
        }
    )
    if not console.wants_json():
        console.result(f"{weights}: {report.mapped} tensors of {file.name}, as {spec.name}.")
    if alike:
        console.note(
            f"The same tensors are in: {', '.join(alike)}. To import it as one of these, name it "
            "with --definition."
        )
    if report.scaled:
        console.note(
            f"{report.scaled} tensors are scaled: the authors' attention multiplies its logits by "
            "what every other divides them by. It computes the same."
        )
    if report.averaged:
        console.note(
            f"{report.averaged} tensors are moving averages (EMA), which the authors sample with; "
            "their last trained values are left out."
        )
    if report.dropped:
        console.note(f"Left out, not needed here: {first_names(report.dropped)}.")


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
