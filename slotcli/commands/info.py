"""slotcli info: facts about a clip, a result, a slot file, a training run or a model."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcli.commands import console
from slotcli.errors import DataError, NoInputError, printable

if TYPE_CHECKING:
    from slotcli.results.result import Result

_THUMBNAIL = (40, 64)  # height and width in pixels; a character shows two, one above the other


def info(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A video, an image folder, a result or a folder of results, a slot file, a "
            "training run, or a model's name, folder or weights.",
        ),
    ],
) -> None:
    """Describe a video, a result, a slot file, a training run or a model.

    Hashes of slot files and weights are checked.

    Examples:
      slotcli info samples/tier-a.mp4
      slotcli info slotcli-out/tier-a.mp4
      slotcli info tiny-64
    """
    console.phase("reading")
    facts = {"file": printable(what), **_facts(what)}
    result = facts.pop("result", None)
    console.record(facts if result is None else facts | {"objects": _objects(result)})
    if not console.wants_json():
        for key, value in console.dotted(facts):
            if value is not None and value != []:
                console.result(f"{key}: {_format(key, value)}")
        if result is not None:
            if console.shows_images():
                _show_frame(result)
            _show_objects(result)


def _objects(result: "Result") -> list[dict[str, Any]]:
    """The table of objects as records; null for what an absent object lacks."""
    columns = result.object_columns
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [
        {name: None if value != value else value for name, value in zip(columns, row, strict=True)}
        for row in rows
    ]


def _show_frame(result: "Result") -> None:
    """The middle frame with its objects in colour; a remark where the clip is gone."""
    from slotcli.results.notebook import thumbnails

    frames, remark = thumbnails(result, [len(result) // 2], _THUMBNAIL)
    for frame in frames:
        console.image(frame)
    if remark is not None:
        console.note(remark)


def _show_objects(result: "Result") -> None:
    from slotcli.results.notebook import COLUMNS, object_cells

    cells = object_cells(result.object_columns)
    console.table("objects:", list(COLUMNS), list(cells.values()))
    empty = len(result.object_columns["id"]) - len(cells)
    if empty:
        console.result(f"{empty} slots took no pixel.")


def _facts(what: str) -> dict[str, Any]:
    from slotcli.files.model_folders import DEFINITION, WEIGHTS, model_folders, weights_of
    from slotcli.wrong_keys import closest

    path = Path(what)
    if not os.path.exists(path):  # unlike Path.exists, for names of any length
        shipped = {folder.name: folder for folder in model_folders()}
        if what not in shipped:
            meant = closest(what, list(shipped))
            raise NoInputError(
                f"{printable(what)}: there is no such file, folder or shipped model.",
                f"Did you mean {meant}? slotcli models list shows the models."
                if meant
                else "Check the path; slotcli models list shows the models.",
            )
        weights = weights_of(what)
        path = shipped[what] if weights is None else weights.parent
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if path.suffix == ".toml" and path.is_file():
        return _definition(path)
    if not path.is_dir():
        return _clip(path)

    from slotcli.commands.folder_facts import folder_facts
    from slotcli.training.log import LOG
    from slotcli.training.run_facts import RUN

    if not any((path / mark).is_file() for mark in (LOG, RUN)):
        if (path / DEFINITION).is_file():
            return _definition(path / DEFINITION)
        if (path / WEIGHTS).is_file():
            return _safetensors(path / WEIGHTS)
    return folder_facts(path) or _clip(path)


def _definition(path: Path) -> dict[str, Any]:
    """A model's definition and, if there are weights beside it, those, which are checked."""
    from slotcli.build import count_parameters
    from slotcli.checkpoint import DEFINITION, WEIGHTS
    from slotcli.definition import load_definition, spec_json

    weights, card = path.with_name(WEIGHTS), path.with_name("README.md")
    if path.name == DEFINITION and weights.is_file():
        facts = _safetensors(weights)
    else:
        spec = load_definition(path)
        facts = {
            "kind": spec.kind,
            "name": spec.name,
            "size": spec.size,
            "parameters": count_parameters(spec),
            "spec": spec_json(spec),
        }
    files = {
        "definition": printable(path),
        "weights": printable(weights) if weights.is_file() else "none",
        "card": printable(card) if card.is_file() else None,
    }
    spec_facts = facts.pop("spec", None)
    return {**facts, **files, "spec": spec_facts}


def _format(key: str, value: Any) -> str:
    if key == "start_seconds":
        return f"{value:.2f}, in the file's own time; --start and --end count from there"
    if key.rpartition(".")[2] in ("size", "coded_size") and isinstance(value, tuple | list):
        return " x ".join(map(str, reversed(value)))  # as people write it: width x height
    if isinstance(value, tuple):
        return ("; " if key == "video_streams" else " x ").join(map(str, value))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _clip(path: Path) -> dict[str, Any]:
    from slotcli.video.reader import probe

    found = probe(path)
    source = asdict(found)
    del source["path"], source["start_pts"]
    source["start_seconds"] = float(found.start_pts * found.time_base)
    plain = (int, float, str, bool, tuple, type(None))
    return {"kind": "clip"} | {
        key: value if isinstance(value, plain) else str(value) for key, value in source.items()
    }


def _safetensors(path: Path) -> dict[str, Any]:
    from slotcli.checkpoint import SCHEMA

    metadata = _metadata(path)
    if metadata.get("schema") == SCHEMA:
        return _model(path, metadata)
    from slotcli.results.facts import slot_file_facts
    from slotcli.tracks.slot_file import read_slot_file

    return slot_file_facts(read_slot_file(path))


def _metadata(path: Path) -> dict[str, Any]:
    """The unchecked metadata of the header, which determine the reader."""
    import json

    from safetensors import SafetensorError, safe_open

    from slotcli.files.reading import access_errors

    try:
        with access_errors(path), safe_open(path, framework="numpy") as header:
            metadata = json.loads((header.metadata() or {}).get("slotcli", "{}"))
    except (SafetensorError, ValueError, RecursionError) as error:
        raise DataError(
            f"{printable(path)} is damaged or no safetensors file: {error}.", "Make it again."
        ) from error
    return metadata if isinstance(metadata, dict) else {}


def _model(path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    from slotcli.checkpoint import SCHEMA, load_model

    loaded = load_model(str(path))
    return {
        "kind": loaded.spec.kind,
        "schema": SCHEMA,
        "name": loaded.spec.name,
        "size": loaded.spec.size,
        "step": loaded.step,
        "parameters": sum(parameter.numel() for parameter in loaded.module.parameters()),
        "sha256": loaded.sha256,
        "provenance": metadata.get("provenance"),
        "spec": metadata.get("spec"),
    }
