"""Several seeds of one definition: which is to be used is judged without labels, never by loss."""

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
    """What became of a seed: the last row of its log, or why there is none that counts."""

    seed: int
    folder: str
    figures: dict[str, Any]
    failure: str | None = None

    @property
    def degeneration(self) -> float | None:
        return None if self.failure else self.figures.get(JUDGED_BY)


def seed_folder(seed: int) -> str:
    """Where a seed's run is, below the folder of all."""
    return f"seed-{seed}"


def finished(out: Path, options: OptimiserSpec) -> SeedRun | None:
    """The run of the options' seed below `out`, or None where it is not at its end yet."""
    folder = seed_folder(options.seed)
    last = final_row(out / folder, options)
    return None if last is None else SeedRun(options.seed, folder, last)


def choose(runs: list[SeedRun]) -> SeedRun | None:
    """The run of the lowest degeneration, the first of equals; None where it is known of none."""
    known = [(run.degeneration, run) for run in runs if run.degeneration is not None]
    return min(known, key=lambda pair: pair[0])[1] if known else None


def write_choice(out: Path, runs: list[SeedRun]) -> SeedRun | None:
    """Lists the runs in seeds.json, and puts the chosen one's weights beside it; returns that.

    Raises what `output_errors` does.
    """
    chosen = choose(runs)
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
