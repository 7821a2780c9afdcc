"""The definition that adapts a trained model to other clips, and when its result is better."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotcli.spec import SlotModelSpec
from slotcli.training.log import read_log

JUDGED_BY = "degeneration"  # lower is better
MIN_GAIN = 0.02  # a smaller gain can come from choosing the best of several evaluations alone
_RATE = 0.1  # relative to the parent's learning rate
_WARMUP = 0.1  # fraction of the steps
_EVALUATIONS = 10
_PATIENCE = 4


def adapted_spec(
    parent: SlotModelSpec, *, name: str, steps: int, learning_rate: float | None, seed: int
) -> SlotModelSpec:
    """The parent's definition with a short training at a low rate, whose start is evaluated too.

    The learning rate is the encoder's; the decoder's is scaled by the same factor.
    """
    train = parent.train
    rate = _RATE * train.learning_rate if learning_rate is None else learning_rate
    ended = train.grouping_until is not None  # the parent's training ended without the term
    careful = train.model_copy(
        update={
            "steps": steps,
            "learning_rate": rate,
            "decoder_learning_rate": train.decoder_learning_rate * rate / train.learning_rate,
            "final_learning_rate": 0.0,
            "warmup": _WARMUP,
            "evaluate_every": max(1, steps // _EVALUATIONS),
            "patience": _PATIENCE,
            "keep_last": 1,
            "keep_every": 0,
            "grouping_weight": 0.0 if ended else train.grouping_weight,
            "grouping_until": None,
            "seed": seed,
        }
    )
    return parent.model_copy(update={"name": name, "train": careful})


@dataclass(frozen=True)
class Outcome:
    """The rows of a run's evaluations; the first is that of the start."""

    rows: list[dict[str, Any]]

    @property
    def before(self) -> dict[str, Any]:
        return self.rows[0]

    @property
    def best(self) -> dict[str, Any]:
        """The row of lowest degeneration, the last of equals, as the run keeps its weights."""
        known = [row for row in self.rows if row[JUDGED_BY] is not None]
        return min(reversed(known), key=lambda row: row[JUDGED_BY], default=self.before)

    @property
    def better(self) -> bool:
        """Whether the gain of the best row over the start is at least MIN_GAIN."""
        before, after = self.before[JUDGED_BY], self.best[JUDGED_BY]
        return before is not None and before - after >= MIN_GAIN


def read_outcome(run: Path) -> Outcome | None:
    """The evaluations of a run; None where not even its start was evaluated. Raises DataError."""
    rows = [row for row in read_log(run) if JUDGED_BY in row]
    return Outcome(rows) if rows and rows[0]["step"] == 0 else None
