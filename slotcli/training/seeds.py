"""Several seeds of one definition: the best is selected without labels, never by the loss."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slotcli.checkpoint import WEIGHTS
from slotcli.files.writing import whole_file
from slotcli.spec import OptimiserSpec
from slotcli.training.run_facts import final_row

SCHEMA = "slotcli.seeds/1"
SEEDS = "seeds.json"
JUDGED_BY = "degeneration"  # lower is better


@dataclass(frozen=True)
class SeedRun:
    """The result of a seed: the last row of its log, or the reason why there is none."""

    seed: int
    folder: str
    figures: dict[str, Any]
    failure: str | None = None

    @property
    def degeneration(self) -> float | None:
        return None if self.failure else self.figures.get(JUDGED_BY)


def seed_folder(seed: int) -> str:
    """The name of a seed's run folder."""
    return f"seed-{seed}"


def finished_run(out: Path, options: OptimiserSpec) -> SeedRun | None:
    """The run of the options' seed below `out`; None if it has not ended."""
    folder = seed_folder(options.seed)
    last = final_row(out / folder, options)
    return None if last is None else SeedRun(options.seed, folder, last)


def choose_run(runs: list[SeedRun]) -> SeedRun | None:
    """The run of the lowest degeneration, the first of equals; None if no run has the figure."""
    known = [(run.degeneration, run) for run in runs if run.degeneration is not None]
    return min(known, key=lambda pair: pair[0])[1] if known else None


def write_choice(out: Path, runs: list[SeedRun]) -> SeedRun | None:
    """Lists the runs in seeds.json and copies the selected weights beside it; returns that run.

    Raises what `output_errors` does.
    """
    chosen = choose_run(runs)
    if chosen is not None:
        weights = (out / chosen.folder / WEIGHTS).read_bytes()
        with whole_file(out / WEIGHTS) as file:
            file.write(weights)
    listed = {
        "schema": SCHEMA,
        "judged_by": JUDGED_BY,
        "chosen": None if chosen is None else chosen.seed,
        "seeds": [asdict(run) | {JUDGED_BY: run.degeneration} for run in runs],
    }
    with whole_file(out / SEEDS) as file:
        file.write(json.dumps(listed, indent=1, sort_keys=True).encode() + b"\n")
    return chosen
