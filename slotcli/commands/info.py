"""slotcli info: what a file is, as far as slotcli can tell."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from slotcli.commands import console
from slotcli.errors import DataError, printable


def info(
    file: Annotated[
        Path, typer.Argument(help="A video, a folder of images, a slot file or a model's weights.")
    ],
) -> None:
    """Look at a video, a slot file (hashes are checked) or a model file."""
    facts = _safetensors(file) if file.suffix == ".safetensors" else _clip(file)
    facts = {"file": printable(file), **facts}
    console.record(facts)
    if not console.wants_json():
        for key, value in console.dotted(facts):
            if value is not None:
                console.result(f"{key}: {_shown(key, value)}")


def _shown(key: str, value: Any) -> str:
    if key == "start_seconds":
        return f"{value:.2f}, in the file's own time; --start and --end count from there"
    if isinstance(value, tuple):
        return ("; " if key == "video_streams" else " x ").join(map(str, value))
    return str(value)


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
    return _slot_file(path)


def _metadata(path: Path) -> dict[str, Any]:
    """What the header says, unchecked: enough to know which reader to ask."""
    import json

    from safetensors import SafetensorError, safe_open

    from slotcli.video.source import access_errors

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


def _slot_file(path: Path) -> dict[str, Any]:
    from slotcli.tracks.slot_file import SCHEMA, read_slot_file

    found = read_slot_file(path)
    frames, num_slots, slot_dim = found.slots.shape
    return {
        "kind": "slots",
        "schema": SCHEMA,
        "hashes": "verified",
        "frames": frames,
        "num_slots": num_slots,
        "slot_dim": slot_dim,
        "attention_size": found.attention.shape[2:],
        "flagged_frames": int((found.flags != 0).sum()),
        **found.metadata,
    }
