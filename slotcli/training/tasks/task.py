"""The contract between the training loop and what it trains."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from slotcli.data.batches import Batches
from slotcli.training.parallel.peers import WHOLE, Part


@runtime_checkable
class Task(Protocol):
    """What is trained: a module, its loss at a step, and its figures on data held out."""

    figures: list[str]
    judged_by: str
    """The figure that `score` is made of, which is never the loss."""
    memory: dict[str, Tensor]
    """What the task carries from step to step besides its module; changed in place only."""
    batches: Batches[Any, Any]
    """Makes the batches of the next steps ahead."""

    @property
    def module(self) -> nn.Module: ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Adam's groups, each with its peak learning rate under `peak`."""
        ...

    def batch(self, step: int, part: Part = WHOLE) -> Any:
        """A part of a step's batch: a function of step, part and definition alone."""
        ...

    def loss(self, batch: Any, step: int, part: Part = WHOLE) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, a mean over its rows, and figures to log."""
        ...

    def evaluate(self) -> dict[str, float | None]:
        """Figures of the module as it stands."""
        ...

    def draw(self, path: Path) -> None:
        """A picture of what the module makes of held-out data, where there is one to be made."""
        ...

    def score(self, figures: dict[str, float | None]) -> float | None:
        """How good that is without labels, higher is better; None where it is not known."""
        ...
