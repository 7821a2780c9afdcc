"""Two pipeline stages in threads: one works ahead of the caller, the other behind it."""

import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")

_POLL_SECONDS = 0.1  # the longest until a thread notices that it should end


class Prefetcher(Generic[Item]):
    """The items of an iterator, produced in a thread, at most `depth` of them waiting.

    Iterating it yields the items in order and raises the iterator's exception. Used as a context
    manager, which ends the thread. `busy` is the number of seconds worked, not waited.
    """

    def __init__(self, items: Iterator[Item], depth: int) -> None:
        self.busy = 0.0
        self._items = items
        self._queue: Queue[tuple[Item | None, BaseException | None]] = Queue(depth)
        self._unwanted = threading.Event()
        self._thread = threading.Thread(target=self._work, name="ahead", daemon=True)

    def __enter__(self) -> "Prefetcher[Item]":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._unwanted.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Item]:
        while True:
            item, error = self._queue.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    def _work(self) -> None:
        try:
            while not self._unwanted.is_set():
                started = time.monotonic()
                item = next(self._items, None)
                self.busy += time.monotonic() - started
                if not self._put((item, None)) or item is None:
                    return
        except BaseException as error:
            self._put((None, error))

    def _put(self, entry: tuple[Item | None, BaseException | None]) -> bool:
        while not self._unwanted.is_set():
            try:
                self._queue.put(entry, timeout=_POLL_SECONDS)
            except Full:
                continue
            return True
        return False


class BackgroundWorker(Generic[Item]):
    """Calls a function on items in a thread, in order, at most `depth` of them waiting.

    The function's exception is raised by the next `put`, or by `finish`, which waits until all
    items are processed. Used as a context manager, which ends the thread: waiting items are dropped
    unless `finish` was called. `busy` is the number of seconds worked, not waited; `waited` the
    number of seconds that `put` waited.
    """

    def __init__(self, function: Callable[[Item], None], depth: int) -> None:
        self.busy = 0.0
        self.waited = 0.0
        self._function = function
        self._queue: Queue[Item | None] = Queue(depth)
        self._error: BaseException | None = None
        self._unwanted = threading.Event()
        self._thread = threading.Thread(target=self._work, name="behind", daemon=True)

    def __enter__(self) -> "BackgroundWorker[Item]":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._unwanted.set()
        self._thread.join()

    def put(self, item: Item) -> None:
        """Hands an item over; waits while `depth` of them are waiting."""
        started = time.monotonic()
        while True:
            self._raise()
            try:
                self._queue.put(item, timeout=_POLL_SECONDS)
            except Full:
                continue
            self.waited += time.monotonic() - started
            return

    def finish(self) -> None:
        """Returns when the function has seen every item."""
        while self._thread.is_alive() and self._error is None:
            try:
                self._queue.put(None, timeout=_POLL_SECONDS)
            except Full:
                continue
            break
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while not self._unwanted.is_set():
                try:
                    item = self._queue.get(timeout=_POLL_SECONDS)
                except Empty:
                    continue
                if item is None:
                    return
                started = time.monotonic()
                self._function(item)
                self.busy += time.monotonic() - started
        except BaseException as error:
            self._error = error
