"""The saved states of a run: those kept, those removed, and the one that a run resumes from."""

import json
import math
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from slotcli.errors import DataError, NumericError
from slotcli.files.writing import output_errors
from slotcli.spec import OptimiserSpec
from slotcli.training.state import MARKER, RunState, load_state, save_state

_NAME = re.compile(r"step-(\d{8,})")
Notice = Callable[[str], None]
SKIPS = 3  # in a row, after which a run rolls back
ROLLBACKS = 3


@dataclass(frozen=True)
class Checkpoints:
    """The states of one run: the last `keep_last`, every `keep_every`-th step's, and the best.

    A `keep_every` of 0 keeps no state for its step number.
    """

    folder: Path
    keep_last: int
    keep_every: int

    def complete(self) -> list[Path]:
        """State folders with a completion marker, oldest first."""
        found = [
            p.parent for p in self.folder.glob(f"*/{MARKER}") if _NAME.fullmatch(p.parent.name)
        ]
        return sorted(found, key=_step)

    def best(self) -> tuple[Path, float] | None:
        """The state of the highest score, the last of equals; None where no score is recorded."""
        scored = [(path, s) for path in self.complete() if (s := _score(path)) is not None]
        return max(scored, key=lambda pair: (pair[1], _step(pair[0])), default=None)

    def out_of_patience(self, options: OptimiserSpec) -> bool:
        """Whether `options.patience` evaluations have followed the best one."""
        best = self.best()
        if best is None or options.patience == 0:
            return False
        last = [path for path in self.complete() if _score(path) is not None][-1]
        return _step(last) - _step(best[0]) >= options.patience * options.evaluate_every

    def ended_at(self, options: OptimiserSpec) -> int | None:
        """The step at which the run ended; None if it has not."""
        states = self.complete()
        last = _step(states[-1]) if states else None
        return last if last == options.steps or self.out_of_patience(options) else None

    def save(self, state: RunState, score: float | None) -> None:
        """Writes a state, and removes those that are no longer kept. Raises as `save_state`."""
        save_state(self.folder / f"step-{state.step:08d}", state, score)
        states = self.complete()
        best = self.best()
        for path in states[: -self.keep_last]:
            regular = self.keep_every and _step(path) and _step(path) % self.keep_every == 0
            if not regular and (best is None or path != best[0]):
                (path / MARKER).unlink()  # first: half a state must not pass for one
                shutil.rmtree(path)

    def load_newest(self, state: RunState, notice: Notice) -> list[Path]:
        """Restores the newest sound state; returns the newer, damaged ones.

        Each damaged state is reported to `notice`. Raises the first one's DataError where none is
        sound.
        """
        failures: list[tuple[Path, DataError]] = []
        for path in reversed(self.complete()):
            try:
                load_state(path, state)
            except DataError as error:
                failures.append((path, error))
                continue
            for damaged, why in failures:
                notice(
                    f"{why.what} The state {damaged.name} is left out: going on from {path.name}."
                )
            return [damaged for damaged, _ in failures]
        if failures:
            raise failures[0][1]
        return []


def put_aside(states: list[Path]) -> None:
    """Renames damaged states, so that saving the same step again removes none of them."""
    for path in states:
        aside = path.with_name(f"{path.name}.damaged")
        number = 1
        while aside.exists():
            number += 1
            aside = path.with_name(f"{path.name}.damaged-{number}")
        with output_errors(path):
            os.rename(path, aside)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _score(path: Path) -> float | None:
    try:
        facts: object = json.loads((path / MARKER).read_text())
    except (OSError, ValueError):  # unknown; `load_state` checks soundness
        return None
    score = cast(dict[str, Any], facts).get("score") if isinstance(facts, dict) else None
    return float(score) if isinstance(score, int | float) and math.isfinite(score) else None


def roll_back(state: RunState, checkpoints: Checkpoints, notice: Notice) -> list[Path]:
    """Restores the last sound state and counts a rollback, which halves the learning rate.

    Returns the damaged states, as `load_newest`. The count of skipped steps is kept. Raises
    NumericError for a fourth rollback, DataError where no state is sound.
    """
    at, skipped, rollbacks = state.step, state.skipped, state.rollbacks
    if rollbacks == ROLLBACKS:
        raise NumericError(
            f"the loss is not finite at step {at}, even at 1/{2**rollbacks} of the learning rate.",
            "Look at the data and the log. Lower the learning rate, or set train.clip_norm.",
        )
    damaged = checkpoints.load_newest(state, notice)
    state.skipped, state.rollbacks, state.skipped_in_a_row = skipped, rollbacks + 1, 0
    notice(
        f"{SKIPS} steps in a row were not finite: back from step {at} to {state.step}, with "
        f"half the learning rate (rollback {state.rollbacks} of {ROLLBACKS})."
    )
    return damaged
