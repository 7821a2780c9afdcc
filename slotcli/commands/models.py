"""slotcli models: what came along, what is in a definition, and weights from elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from slotcli.commands import console
from slotcli.errors import CannotCreateError

app = typer.Typer(no_args_is_help=True, help="Models: list, show, and import the authors' weights.")

Definition = Annotated[str, typer.Option(help="A model.toml, or the name of a model.")]


@app.command("list")
def list_models() -> None:
    """List the models that came with this installation."""
    from slotcli.build import count_parameters
    from slotcli.checkpoint import DEFINITION, WEIGHTS, model_folders
    from slotcli.spec import load_definition

    rows = []
    for folder in model_folders():
        spec = load_definition(folder / DEFINITION)
        facts = {
            "name": folder.name,
            "kind": spec.kind,
            "parameters": count_parameters(spec),
            "weights": (folder / WEIGHTS).is_file(),
        }
        console.record(facts)
        weights = "yes" if facts["weights"] else "no"
        rows.append([folder.name, spec.kind, f"{facts['parameters']:,}", weights])
    if not console.wants_json():
        console.table("", ["model", "kind", "parameters", "weights"], rows)


@app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="A model.toml, or the name of a model.")],
) -> None:
    """Show a definition with every default filled in, and where its card and weights are."""
    from slotcli.build import count_parameters
    from slotcli.checkpoint import WEIGHTS, find_definition
    from slotcli.spec import load_definition, spec_json

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


@app.command("import")
def import_model(
    file: Annotated[Path, typer.Argument(help="The authors' .pth, .pt, .safetensors or .npz.")],
    definition: Definition,
    out: Annotated[Path, typer.Option(help="Folder for model.toml and weights.safetensors.")],
    overwrite: Annotated[bool, typer.Option(help="Replace weights that are there.")] = False,
) -> None:
    """Import weights of the published models. Nothing in the file is executed."""
    from slotcli.checkpoint import DEFINITION, WEIGHTS, file_sha256, find_definition, save_model
    from slotcli.published import import_published, listed
    from slotcli.spec import load_definition
    from slotcli.tracks.writing import output_errors

    console.phase("reading the weights")
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
                f"{own_definition}: another definition is there already.",
                "Choose another folder, or give --overwrite to replace it.",
            )
    tensors, report = import_published(file, spec)
    provenance = {"source": file.name, "sha256": file_sha256(file)}
    # The definition goes first: without weights it is still a model, the reverse is not.
    with output_errors(own_definition):
        out.mkdir(parents=True, exist_ok=True)
        own_definition.write_bytes(text)
    save_model(weights, spec, tensors, step=0, provenance=provenance)
    console.record(
        {
            "mapped": report.mapped,
            "averaged": report.averaged,
            "dropped": report.dropped,
            "weights": str(weights),
            **provenance,
        }
    )
    if not console.wants_json():
        console.result(f"{weights}: {report.mapped} tensors of {file.name}.")
    if report.averaged:
        console.note(
            f"{report.averaged} tensors are moving averages, with which the authors draw; "
            "their last trained values are left out."
        )
    if report.dropped:
        console.note(f"Left out, not needed here: {listed(report.dropped)}.")


@app.command("pack")
def pack_model(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or its weights file.")],
    out: Annotated[Path, typer.Option(help="Model folder; its model.toml has to be there.")],
    overwrite: Annotated[bool, typer.Option(help="Replace weights that are there.")] = False,
) -> None:
    """Put a run's weights into a model folder, at half precision, to be shipped."""
    from slotcli.checkpoint import DEFINITION, WEIGHTS, load_model, read_tensors, save_model
    from slotcli.errors import DataError
    from slotcli.spec import load_definition

    console.phase("reading the weights")
    weights = out / WEIGHTS
    if weights.exists() and not overwrite:
        raise CannotCreateError(f"{weights}: exists already.", "Give --overwrite to replace it.")
    defined = load_definition(out / DEFINITION)
    loaded = load_model(str(run))
    if loaded.spec.model_dump(exclude={"train"}) != defined.model_dump(exclude={"train"}):
        raise DataError(
            f"{loaded.path}: is not the model that {out / DEFINITION} defines.", "Correct either."
        )
    tensors, metadata = read_tensors(loaded.path)
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    save_model(weights, loaded.spec, half, loaded.step, metadata.get("provenance", {}))
    console.result(f"{weights}: step {loaded.step}, {weights.stat().st_size / 2**20:.1f} MiB")
