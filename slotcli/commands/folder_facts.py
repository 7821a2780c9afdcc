"""Facts about a folder: a result, a folder of results, a training run, or a folder of clips."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from slotcli.checkpoint import DEFINITION, WEIGHTS
from slotcli.decomposition.plan import plan
from slotcli.definition import load_definition
from slotcli.errors import ConfigError, DataError, NoInputError, SlotcliError, printable
from slotcli.files.layout import RESULT, SLOT_FILE
from slotcli.results.result import load
from slotcli.training.log import LOG, read_log
from slotcli.training.run_facts import RUN, final_row, read_starts
from slotcli.training.seeds import SEEDS


def folder_facts(folder: Path) -> dict[str, Any] | None:
    """Facts by name, `kind` first; None for a folder of images, which is a clip.

    `result` is the Result of a folder that is one.

    Raises NoInputError where the folder holds nothing that slotcli knows, DataError where a file of
    a result or run is damaged.
    """
    if (folder / RESULT).is_file():
        return _result(folder)
    if (folder / LOG).is_file() or (folder / RUN).is_file():
        return _run(folder)
    if (folder / SEEDS).is_file():
        return _seeds(folder)
    results = [path.parent for path in sorted(folder.rglob(RESULT)) if path.is_file()]
    try:
        clips = plan([str(folder)], folder, recursive=True).clips
    except NoInputError:
        if not results:
            raise
        return _results(folder, results)
    if [clip.source for clip in clips] == [folder]:
        return None
    names = [printable(clip.source.relative_to(folder)) for clip in clips]
    return {"kind": "clips", "clips": len(clips), "names": names, "results": len(results)}


def _result(folder: Path) -> dict[str, Any]:
    if not (folder / SLOT_FILE).is_file():
        raise DataError(
            f"{printable(folder / SLOT_FILE)} is missing.", "Make the result again: decompose."
        )
    result = load(folder)
    return {**result.info, "result": result}


def _results(folder: Path, results: list[Path]) -> dict[str, Any]:
    """Each result in a line, from result.json alone: slots are not read."""
    status: Counter[str] = Counter()
    models: set[str] = set()
    lines: dict[str, str] = {}
    total = 0
    for result in results:
        name = printable(result.relative_to(folder))
        try:
            recorded = _json(result / RESULT)
            own, frames = str(recorded["status"]), int(recorded["counts"]["frames"])
            models.add(str(recorded["model"]["name"]))
            lines[name] = f"{own}, {frames} frames"
            total += frames
        except (SlotcliError, KeyError, TypeError, ValueError):
            own, lines[name] = "damaged", f"damaged {RESULT}"
        status[own] += 1
    return {
        "kind": "results",
        "results": len(results),
        "status": dict(sorted(status.items())),
        "frames": total,
        "models": sorted(models),
        "folders": lines,
    }


def _run(folder: Path) -> dict[str, Any]:
    rows = read_log(folder) if (folder / LOG).is_file() else []
    starts = read_starts(folder)
    facts: dict[str, Any] = {"kind": "training run"}
    try:
        spec = load_definition(folder / DEFINITION)
        over = final_row(folder, spec.train) is not None
        facts |= {"name": spec.name, "trains": spec.kind, "steps": spec.train.steps, "ended": over}
    except (NoInputError, ConfigError) as error:
        facts |= {"definition": error.what}
    return facts | {
        "last_logged_step": rows[-1]["step"] if rows else None,
        "last_row": rows[-1] if rows else None,
        "starts": len(starts),
        "command": " ".join(map(str, starts[-1].get("command", []))) if starts else None,
        "weights": printable(folder / WEIGHTS) if (folder / WEIGHTS).is_file() else None,
    }


def _seeds(folder: Path) -> dict[str, Any]:
    listed = _json(folder / SEEDS)
    try:
        seeds = {str(own["seed"]): own[listed["judged_by"]] for own in listed["seeds"]}
        return {
            "kind": "training runs of several seeds",
            "judged_by": listed["judged_by"],
            "chosen": listed["chosen"],
            "seeds": seeds,
            "weights": printable(folder / WEIGHTS) if (folder / WEIGHTS).is_file() else None,
        }
    except (KeyError, TypeError) as error:
        raise _damaged(folder / SEEDS, f"{error} is missing") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(values, dict):
        raise _damaged(path, "it is not a table")
    return values


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{printable(path)} is damaged: {why}.", "Make it again.")
