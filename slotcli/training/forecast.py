"""Weights, steps and memory of a run, computed before it starts."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from slotcli.spec import OptimiserSpec
from slotcli.training.parallel.peers import Part, Peers
from slotcli.training.tasks.task import Task


@dataclass(frozen=True)
class Forecast:
    """Figures of one process, bytes where the name has it; data and libraries are not counted."""

    parameters: int
    trained_parameters: int
    steps: int
    batch_size: int
    processes: int
    weights_bytes: int
    gradients_bytes: int
    adam_bytes: int
    average_bytes: int
    activations_bytes: int

    @property
    def total_bytes(self) -> int:
        return sum(value for name, value in asdict(self).items() if name.endswith("_bytes"))

    def as_dict(self) -> dict[str, int]:
        return asdict(self) | {"total_bytes": self.total_bytes}


def forecast(task: Task, options: OptimiserSpec, peers: Peers) -> Forecast:
    """Counts weights, and measures the memory kept for gradients on one row of a batch.

    Raises UsageError where the batch cannot be divided among the processes.
    """
    parts = peers.parts(options.batch_size, options.accumulate)
    rows = options.batch_size // parts[0].count
    module = task.module.train()
    trained = sum(p.nbytes for group in task.parameter_groups() for p in group["params"])
    numbers = [p.numel() for p in module.parameters()]
    return Forecast(
        parameters=sum(numbers),
        trained_parameters=trained // 4,
        steps=options.steps,
        batch_size=options.batch_size,
        processes=peers.size,
        weights_bytes=sum(tensor.nbytes for tensor in module.state_dict().values()),
        gradients_bytes=trained,
        adam_bytes=2 * trained,
        average_bytes=trained,
        activations_bytes=rows * _kept_of_a_row(task, options.batch_size),
    )


def _kept_of_a_row(task: Task, batch_size: int) -> int:
    """Bytes that the autograd graph of one row's loss holds besides the weights."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in task.module.state_dict().values()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    row = task.batch(0, Part(0, batch_size))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss, _ = task.loss(row, 0)
    del loss  # kept alive until here: storage freed and reused would be counted once
    return sum(kept.values())
