"""Batches of steps to come, made in a thread while the one at hand is learnt from."""

import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Part = TypeVar("Part", bound=Hashable)
Batch = TypeVar("Batch")

_DEPTH = 4  # steps ahead: some batches take longer than a step, for scenes are rendered in groups


class Batches(Generic[Part, Batch]):
    """What `make` makes of a step and a part of its batch, for a run of `steps` steps.

    `make` has to be a function of its arguments alone; it is called in one thread, for one batch
    after the other, and what it raises comes out of `of`. Used as a context manager, which ends the
    thread; the next `of` starts it anew. `waited` is how many seconds `of` waited for batches.
    """

    def __init__(self, make: Callable[[int, Part], Batch], steps: int) -> None:
        self.waited = 0.0
        self._make = make
        self._steps = steps
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: dict[tuple[int, Part], Future[Batch]] = {}

    def __enter__(self) -> "Batches[Part, Batch]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        self._thread = None
        self._ahead.clear()

    def of(self, step: int, part: Part) -> Batch:
        """A part of a step's batch; the same part of the next few steps is begun."""
        self._begin(step, part)
        started = time.monotonic()
        batch = self._ahead.pop((step, part)).result()
        self.waited += time.monotonic() - started
        for later in range(step + 1, min(step + 1 + _DEPTH, self._steps)):
            self._begin(later, part)
        return batch

    def _begin(self, step: int, part: Part) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "batches")
        if (step, part) not in self._ahead:
            self._ahead[step, part] = self._thread.submit(self._make, step, part)
