"""Imports a file of published weights into a model folder, and tells what was done to it."""

from pathlib import Path
from typing import Any

from slotcli.commands import console
from slotcli.errors import CannotCreateError


def import_into(
    out: Path, file: Path, definition: str | None, *, overwrite: bool, **origin: Any
) -> dict[str, Any]:
    """Writes the definition and the weights of a model folder; returns the facts of the import.

    Without a `definition`, by name or path, it is the one that has the file's tensors; `origin` is
    stored with the weights. Raises CannotCreateError where `out` has weights or another definition
    and `overwrite` is off, and as `read_state_dict` and `import_published`.
    """
    from slotcli.checkpoint import DEFINITION, WEIGHTS, file_sha256, find_definition, save_model
    from slotcli.definition import load_definition
    from slotcli.files.writing import output_errors
    from slotcli.published import import_published, recognised
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
    provenance = {"source": file.name, "sha256": file_sha256(file), **origin}
    # The definition is written first: without weights it is still a model, the reverse is not.
    with output_errors(own_definition):
        out.mkdir(parents=True, exist_ok=True)
        own_definition.write_bytes(text)
    save_model(weights, spec, tensors, step=0, provenance=provenance)
    return {
        "mapped": report.mapped,
        "averaged": report.averaged,
        "dropped": report.dropped,
        "scaled": report.scaled,
        "definition": spec.name,
        "alike": alike,
        "weights": str(weights),
        **provenance,
    }


def tell_of_import(facts: dict[str, Any]) -> None:
    """Prints the result of an import, and a remark on everything that was not plainly copied."""
    from slotcli.published import first_names

    if not console.wants_json():
        console.result(
            f"{facts['weights']}: {facts['mapped']} tensors of {facts['source']}, "
            f"as {facts['definition']}."
        )
    if facts["alike"]:
        console.note(
            f"The same tensors are in: {', '.join(facts['alike'])}. To import it as one of these, "
            "name it with --definition."
        )
    if facts["scaled"]:
        console.note(
            f"{facts['scaled']} tensors are scaled: the authors' attention multiplies its logits "
            "by what every other divides them by. It computes the same."
        )
    if facts["averaged"]:
        console.note(
            f"{facts['averaged']} tensors are moving averages (EMA), which the authors sample "
            "with; their last trained values are left out."
        )
    if facts["dropped"]:
        console.note(f"Left out, not needed here: {first_names(facts['dropped'])}.")
