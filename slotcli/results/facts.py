"""Facts about a result, as `slotcli info` prints them."""

from pathlib import Path
from typing import Any

from slotcli.errors import DataError, printable
from slotcli.files.layout import RESULT
from slotcli.tracks.slot_file import SCHEMA, SlotFile


def slot_file_facts(slot_file: SlotFile) -> dict[str, Any]:
    """Facts by name about a slot file alone, with its metadata."""
    frames, num_slots, slot_dim = slot_file.slots.shape
    return {
        "kind": "slots",
        "schema": SCHEMA,
        "hashes": "verified",
        "frames": frames,
        "num_slots": num_slots,
        "slot_dim": slot_dim,
        "attention_size": slot_file.attention.shape[2:],
        "flagged_frames": int((slot_file.flags != 0).sum()),
        **slot_file.metadata,
    }


def result_facts(slots: Path, slot_file: SlotFile, recorded: dict[str, Any]) -> dict[str, Any]:
    """Facts by name about the result of a slot file, from it and the values of result.json.

    Raises DataError where result.json lacks one.
    """
    frames, num_slots, slot_dim = slot_file.slots.shape
    try:
        return {
            "kind": "result",
            "status": recorded["status"],
            "source": recorded["source"]["path"],
            "frames": frames,
            "size": tuple(slot_file.transform.source_size),
            "model": recorded["model"]["name"],
            "weights": recorded["model"]["path"],
            "weights_sha256": recorded["model"]["weights_sha256"],
            "num_slots": num_slots,
            "slot_dim": slot_dim,
            "hashes": "verified",
            "flagged_frames": int((slot_file.flags != 0).sum()),
            "coverage": recorded["coverage"],
            "warnings": recorded["warnings"],
            "options": recorded["options"],
            "seconds": recorded["seconds"],
            "version": recorded["version"],
            "files": sorted(
                printable(path.name) + "/" * path.is_dir() for path in slots.parent.iterdir()
            ),
        }
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{printable(slots.with_name(RESULT))} is damaged: {error} is missing.",
            "Make it again.",
        ) from error
