"""Prefetches batches of the next steps, in a thread or in processes."""

import signal
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

Part = TypeVar("Part", bound=Hashable)
Batch = TypeVar("Batch")

_DEPTH = 4  # steps ahead; scenes are rendered in groups, so some batches take long


class Batches(Generic[Part, Batch]):
    """The batches of `make`, by step and part, for a run of `steps` steps.

    `make` has to be a function of its arguments alone; it is called in one thread, for one batch
    after the other, and `of` raises its exceptions. Used as a context manager, which ends the
    thread; the next `of` starts another. `waited` is the number of seconds for which `of` waited
    for batches.
    """

    def __init__(
        self,
        make: Callable[[int, Part], Batch],
        steps: int,
        start: Callable[[], Executor] = lambda: ThreadPoolExecutor(1, "batches"),
        depth: int = _DEPTH,
    ) -> None:
        self.waited = 0.0
        self._make = make
        self._steps = steps
        self._start = start
        self._depth = depth
        self._executor: Executor | None = None
        self._ahead: dict[tuple[int, Part], Future[Batch]] = {}

    @classmethod
    def of_processes(
        cls, opening: Callable[[], Callable[[int, Part], Batch]], steps: int, workers: int
    ) -> "Batches[Part, Batch]":
        """Batches made by `workers` processes, in each of which `opening` returns `make`.

        `opening` is pickled. The batches equal those of a thread, because they are functions of the
        step.
        """
        return cls(_batch, steps, partial(_processes, opening, workers), 2 * workers)

    def __enter__(self) -> "Batches[Part, Batch]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
        self._executor = None
        self._ahead.clear()

    def of(self, step: int, part: Part) -> Batch:
        """A part of a step's batch; prefetches the same part of the next few steps."""
        self._begin(step, part)
        started = time.monotonic()
        batch = self._ahead.pop((step, part)).result()
        self.waited += time.monotonic() - started
        for later in range(step + 1, min(step + 1 + self._depth, self._steps)):
            self._begin(later, part)
        return batch

    def _begin(self, step: int, part: Part) -> None:
        if self._executor is None:
            self._executor = self._start()
        if (step, part) not in self._ahead:
            self._ahead[step, part] = self._executor.submit(self._make, step, part)


_make_here: Callable[[int, Any], Any] | None = None  # of a worker process


def _processes(opening: Callable[[], Callable[[int, Any], Any]], workers: int) -> Executor:
    from torch import multiprocessing

    # Not forked: the process has threads, and perhaps a GPU, with which its copy would hang.
    context = multiprocessing.get_context("spawn")  # DS2
    return ProcessPoolExecutor(workers, context, _open_here, (opening,))


def _open_here(opening: Callable[[], Callable[[int, Any], Any]]) -> None:
    """Initialises a worker process: one thread, Ctrl-C ignored."""
    import torch

    global _make_here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _make_here = opening()


def _batch(step: int, part: Any) -> Any:
    assert _make_here is not None
    return _make_here(step, part)
