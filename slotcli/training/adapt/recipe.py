"""How a trained model goes on learning on other clips, and when it is better for it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotcli.spec import SlotModelSpec
from slotcli.training.log import read_log

JUDGED_BY = "degeneration"  # lower is better
MIN_GAIN = 0.02  # less passes for better by the choice among evaluations alone
_RATE = 0.1  # of the parent's
_WARMUP = 0.1  # share of the steps
_EVALUATIONS = 10
_PATIENCE = 4


def adapted_spec(
    parent: SlotModelSpec, *, name: str, steps: int, learning_rate: float | None, seed: int
) -> SlotModelSpec:
    """The parent's definition with a short and careful training, which its start is judged with.

    The learning rate is the encoder's; the decoder's keeps its proportion to it.
    """
    train = parent.train
    rate = _RATE * train.learning_rate if learning_rate is None else learning_rate
    ended = train.coherence_until is not None  # as the parent's own training left it
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
            "coherence_weight": 0.0 if ended else train.coherence_weight,
            "coherence_until": None,
            "seed": seed,
        }
    )
    return parent.model_copy(update={"name": name, "train": careful})


@dataclass(frozen=True)
class Outcome:
    """The rows of a run's evaluations, its start's first."""

    rows: list[dict[str, Any]]

    @property
    def before(self) -> dict[str, Any]:
        return self.rows[0]

    @property
    def best(self) -> dict[str, Any]:
        """The least degenerate row, the later of equals, as the run keeps its weights."""
        known = [row for row in self.rows if row[JUDGED_BY] is not None]
        return min(reversed(known), key=lambda row: row[JUDGED_BY], default=self.before)

    @property
    def better(self) -> bool:
        """Whether the best is worth more than the start."""
        before, after = self.before[JUDGED_BY], self.best[JUDGED_BY]
        return before is not None and before - after >= MIN_GAIN


def outcome_of(run: Path) -> Outcome | None:
    """What a run came to; None where not even its start was judged. Raises DataError."""
    rows = [row for row in read_log(run) if JUDGED_BY in row]
    return Outcome(rows) if rows and rows[0]["step"] == 0 else None
