"""What a run does about losses that are not finite, after it has skipped the steps."""

from pathlib import Path

from slotcli.errors import NumericError
from slotcli.training.checkpoints import Checkpoints, Notice
from slotcli.training.state import RunState

SKIPS = 3  # in a row, after which a run goes back
ROLLBACKS = 3


def go_back(state: RunState, checkpoints: Checkpoints, notice: Notice) -> list[Path]:
    """Restores the last sound state and counts a rollback, which halves the learning rate.

    Returns the states that are damaged, as `load_newest`. What was counted as skipped stays
    counted. Raises NumericError for a fourth rollback, DataError where no state is sound.
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
