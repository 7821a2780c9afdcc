"""Timing by the wall clock and by the CPU time of all threads, interleaved between variants."""

import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import median
from typing import Any, TypeVar

import torch

Name = TypeVar("Name", bound=Hashable)
Result = TypeVar("Result")
Action = Callable[[], Result]


@dataclass(frozen=True)
class Timing:
    """Seconds of each run over `frames` frames, by the wall clock and of all CPU threads together.

    On a busy machine the wall clock also counts the work of other processes.
    """

    frames: int
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    on_gpu: bool = False

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def costs(self) -> tuple[float, ...]:
        """The seconds to compare runs by: a GPU's clock; on a CPU the sum over all threads."""
        return self.seconds if self.on_gpu else self.cpu_seconds

    @property
    def cost(self) -> float:
        return median(self.costs)

    @property
    def per_frame(self) -> float:
        return self.median / self.frames

    def as_dict(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "median_seconds": self.median,
            "lowest_seconds": min(self.seconds),
            "highest_seconds": max(self.seconds),
            "seconds_per_frame": self.per_frame,
            "median_cpu_seconds": median(self.cpu_seconds),
            "runs": list(self.seconds),
            "cpu_runs": list(self.cpu_seconds),
        }


def timed(action: Action[object], frames: int, repeats: int, warm_up: int) -> Timing:
    """Times one action alone: `repeats` times, after `warm_up` runs that are not counted."""
    return interleaved({"": action}, frames=frames, rounds=repeats, warm_up=warm_up)[""]


def interleaved(
    actions: dict[Name, Action[Any]],
    *,
    frames: int,
    rounds: int,
    warm_up: int = 0,
    least_seconds: float = 0.0,
    tell: Callable[[Name], None] = lambda _: None,
) -> dict[Name, Timing]:
    """Runs every variant once per round, in an order that is rotated by one from round to round.

    So a machine that slows down, or a variant's effect on the caches, affects all of them alike. A
    variant that takes less than `least_seconds` is called repeatedly to fill them, and a run is the
    mean of these calls: clocks and waiting for a GPU cost microseconds themselves. `tell` is called
    after each run.
    """
    calls = {name: _calls(action, warm_up, least_seconds) for name, action in actions.items()}
    runs: dict[Name, list[tuple[float, float]]] = {name: [] for name in actions}
    for round_ in range(rounds):
        for name in _rotated(list(actions), round_):
            runs[name].append(_run(actions[name], calls[name]))
            tell(name)
    on_gpu = torch.cuda.is_initialized()
    return {
        name: Timing(frames, *zip(*each, strict=True), on_gpu=on_gpu) for name, each in runs.items()
    }


def in_turn(calls: Sequence[Action[Result]]) -> Action[Result]:
    """Calls the given functions cyclically, one per call."""
    turns = cycle(calls)
    return lambda: next(turns)()


def copies_needed(nbytes: int, device: torch.device) -> int:
    """The number of inputs of that size that exceeds a GPU's cache; 1 on a CPU.

    A CPU's caches are part of the measurement: in a network a layer finds its input there.
    """
    if device.type != "cuda":
        return 1
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    return 1 + math.ceil(cache / nbytes)


def _calls(action: Action[object], warm_up: int, least_seconds: float) -> int:
    """Warms an action up; returns the number of its calls that fills `least_seconds`."""
    for _ in range(warm_up):
        action()
    if not least_seconds:
        return 1
    seconds, _ = _run(action, 1)
    return max(1, math.ceil(least_seconds / max(seconds, 1e-9)))


def _rotated(names: list[Name], by: int) -> list[Name]:
    by %= len(names)
    return names[by:] + names[:by]


def _run(action: Action[object], calls: int) -> tuple[float, float]:
    """Seconds per call by the wall clock and of all threads, a mean over `calls` calls.

    On a GPU the clock is its own: events in its queue, so that waiting for it is not counted.
    """
    on_gpu = torch.cuda.is_initialized()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if on_gpu else []
    if on_gpu:
        torch.cuda.synchronize()
        events[0].record()
    start, cpu_start = time.perf_counter(), time.process_time()
    for _ in range(calls):
        action()
    if on_gpu:
        events[1].record()
        torch.cuda.synchronize()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    if on_gpu:
        seconds = events[0].elapsed_time(events[1]) / 1000
    return seconds / calls, cpu_seconds / calls
