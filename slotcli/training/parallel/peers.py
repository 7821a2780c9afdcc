"""Data-parallel training over several processes of torchrun, each with a part of every batch.

PyTorch's DistributedDataParallel wraps a module's forward; a task's loss is more than that, and
some parameters have no gradient in some systems. Gradients are averaged here after the backward
pass, in one flat tensor, and are bitwise identical in every process.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from slotcli.errors import NumericError, UsageError

Row = TypeVar("Row")
# The others wait while rank 0 evaluates and saves, which takes long on large data.
_PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class Part:
    """The `index`-th of `count` equal, contiguous parts of a batch."""

    index: int = 0
    count: int = 1

    def seed(self, run: int, step: int) -> int:
        """The random seed of this part at a step; that of the first part does not hang on `count`.

        A multiple of the golden ratio of 2**32 keeps parts apart in the low 32 bits, for PyTorch's
        CPU generator takes no others.
        """
        return run * 1_000_003 + step + 2_654_435_761 * self.index

    def of(self, batch: Sequence[Row]) -> Sequence[Row]:
        """The rows of a batch that belong to this part; `count` must divide the batch's length."""
        size = len(batch) // self.count
        return batch[self.index * size : (self.index + 1) * size]


WHOLE = Part()


@dataclass(frozen=True)
class Peers:
    """The process group of a run, and this process's rank in it; methods are collective."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which prints, logs, evaluates and saves."""
        return self.rank == 0

    def parts(self, batch_size: int, accumulate: int) -> list[Part]:
        """This process's parts of a batch. Raises UsageError where it cannot be divided evenly."""
        count = self.size * accumulate
        if batch_size % count:
            raise UsageError(
                f"train.batch_size {batch_size} cannot be divided by {self.size} processes times "
                f"train.accumulate {accumulate}.",
                f"Make it a multiple of {count}.",
            )
        return [Part(self.rank * accumulate + index, count) for index in range(accumulate)]

    def mean(self, values: list[float]) -> list[float]:
        """The mean of each value over all processes, the same everywhere."""
        if self.size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return (total / self.size).tolist()

    def largest(self, value: int) -> int:
        """The maximum over all processes."""
        if self.size == 1:
            return value
        most = torch.tensor(value, device=self.device)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        return int(most)

    def union(self, marks: Bool[Tensor, " k"]) -> Bool[Tensor, " k"]:
        """The elementwise OR over all processes."""
        if self.size == 1:
            return marks
        total = marks.int()
        dist.all_reduce(total)
        return total > 0

    def together(self, rows: Float[Tensor, "n *rest"]) -> Float[Tensor, "m *rest"]:
        """The rows of all processes, equally many of each, in the order of their ranks."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Replaces each gradient by its mean over all processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)  # T13
        flat /= self.size
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def require_replicas(self, module: nn.Module, step: int) -> None:
        """Raises NumericError, everywhere, where processes differ in the step or in any weight."""
        if self.size == 1:
            return
        sums = [_bits(parameter) for parameter in module.parameters()]
        mine = torch.stack([torch.tensor(step, device=self.device), *sums])
        least, most = mine.clone(), mine.clone()
        dist.all_reduce(least, dist.ReduceOp.MIN)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        if not torch.equal(least, most):
            raise NumericError(
                f"The processes' weights differ at step {step}.",
                "Check that all see the same --out and have the same GPU; then: --resume auto.",
            )

    def wait(self) -> None:
        """A barrier: returns once every process has called it."""
        self.largest(0)


ALONE = Peers()


def world() -> tuple[int, int]:
    """Rank and world size, from torchrun's environment; 0 and 1 without it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def local_device(device: torch.device) -> torch.device:
    """This process's GPU where torchrun gives each process one; else `device`."""
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


@contextmanager
def joined(device: torch.device) -> Iterator[Peers]:
    """The process group of this run, initialised; over NCCL with a GPU per process, else gloo."""
    rank, size = world()
    if size == 1:
        yield Peers(device=device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Peers(rank, size, device)
    finally:
        dist.destroy_process_group()


def _bits(parameter: Float[Tensor, "*shape"]) -> Int64[Tensor, ""]:
    """A checksum of the parameter's bits."""
    return parameter.detach().float().flatten().view(torch.int32).sum(dtype=torch.int64)
