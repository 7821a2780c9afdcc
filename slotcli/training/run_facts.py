"""Records a run in its folder: the resolved definition, and the command of every start."""

import json
import platform
import time
from pathlib import Path
from typing import Any

import torch

from slotcli import __version__
from slotcli.checkpoint import DEFINITION
from slotcli.compute.precision import TrainPrecision
from slotcli.definition import definition_text
from slotcli.files.writing import output_errors, whole_file
from slotcli.spec import CodecModelSpec, OptimiserSpec, SlotModelSpec
from slotcli.training.checkpoints import Checkpoints
from slotcli.training.log import read_log

SCHEMA = "slotcli.run/1"
RUN = "run.json"


def write_run_facts(
    folder: Path,
    spec: SlotModelSpec | CodecModelSpec,
    command: list[str],
    first_step: int,
    precision: TrainPrecision,
) -> None:
    """Writes model.toml, the definition that is trained, and adds this start to run.json.

    `first_step` is that of the state that the run resumes from; 0 is a new run, and discards the
    recorded starts. Raises: OutputError and its kin.
    """
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / DEFINITION) as file:
        file.write(definition_text(spec).encode())
    start = {
        "command": command,
        "first_step": first_step,
        "precision": precision,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    earlier = read_starts(folder) if first_step else []
    facts = {"schema": SCHEMA, "name": spec.name, "starts": [*earlier, start]}
    with whole_file(folder / RUN) as file:
        file.write(json.dumps(facts, indent=1, sort_keys=True).encode() + b"\n")


def read_starts(folder: Path) -> list[dict[str, Any]]:
    """The starts recorded in run.json, oldest first; none where it is missing or unreadable."""
    try:
        starts = json.loads((folder / RUN).read_bytes())["starts"]
        return [start for start in starts if isinstance(start, dict)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def final_row(folder: Path, options: OptimiserSpec) -> dict[str, Any] | None:
    """The last row of a run's log; None where the run has not ended. Raises DataError."""
    step = Checkpoints(folder / "state", options.keep_last, options.keep_every).ended_at(options)
    if step is None:
        return None
    last = read_log(folder)[-1:]
    # A run stopped during its last evaluation has a state and no row.
    return last[0] if last and last[0]["step"] == step else None
