"""The contract between the training loop and what it trains."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from slotcli.data.batches import Batches
from slotcli.training.parallel.peers import WHOLE, Part


@runtime_checkable
class Task(Protocol):
    """A module with its loss at a step, and its figures on held-out data."""

    figures: list[str]
    judged_by: str
    """The selection metric, from which `score` is made; never the loss."""
    memory: dict[str, Tensor]
    """State that the task carries from step to step besides its module; changed in place only."""
    batches: Batches[Any, Any]
    """Makes the batches of the next steps ahead of time."""

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

    def complete(self) -> None:
        """Fits what gradients do not train, to the current weights; before each evaluation."""
        ...

    def evaluate(self) -> dict[str, float | None]:
        """Figures of the module with its current weights."""
        ...

    def draw(self, path: Path) -> None:
        """Writes an image of the module's output on held-out data, if the task has one."""
        ...

    def score(self, figures: dict[str, float | None]) -> float | None:
        """The label-free quality of the figures, higher is better; None if unknown."""
        ...
