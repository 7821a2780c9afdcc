"""Measuring, with a clock that moves only when an action says so."""

import math

import pytest
import torch

from slotcli.bench import timing
from slotcli.bench.timing import Timing, copies_needed, in_turn, interleaved, timed


class Clock:
    """Stands in for the module time: both clocks go by what is `spend`t."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cpu = 0.0

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.cpu

    def spend(self, seconds: float) -> None:
        self.now += seconds
        self.cpu += 2 * seconds  # two threads


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def test_every_round_begins_with_another_arm() -> None:
    calls: list[str] = []
    arms = {name: lambda name=name: calls.append(name) for name in "abc"}
    interleaved(arms, frames=1, rounds=4, warm_up=0)
    assert "".join(calls) == "abcbcacababc"


def test_warm_up_is_not_counted_and_both_clocks_are(clock: Clock) -> None:
    steps = iter([9.0, 1.0, 2.0, 6.0])
    found = timed(lambda: clock.spend(next(steps)), frames=4, repeats=3, warm_up=1)
    assert found == Timing(4, (1.0, 2.0, 6.0), (2.0, 4.0, 12.0))
    assert (found.median, found.per_frame, found.cost) == (2.0, 0.5, 4.0)


def test_a_gpu_costs_its_own_clock() -> None:
    found = Timing(1, (3.0, 1.0, 2.0), (9.0, 9.0, 9.0), on_gpu=True)
    assert (found.cost, found.costs) == (2.0, (3.0, 1.0, 2.0))


def test_short_calls_are_repeated_and_a_run_is_their_mean(clock: Clock) -> None:
    calls = {"short": 0, "long": 0}

    def call(name: str, seconds: float) -> None:
        calls[name] += 1
        clock.spend(seconds)

    arms = {"short": lambda: call("short", 0.25), "long": lambda: call("long", 8.0)}
    found = interleaved(arms, frames=1, rounds=2, warm_up=1, least_seconds=2.0)
    # one to warm up, one to see how long it takes, then two rounds
    assert calls == {"short": 2 + 2 * 8, "long": 2 + 2}
    assert found["short"].seconds == (0.25, 0.25)
    assert found["long"].cpu_seconds == (16.0, 16.0)


def test_calls_take_turns() -> None:
    seen: list[int] = []
    action = in_turn([lambda: seen.append(1), lambda: seen.append(2)])
    for _ in range(5):
        action()
    assert seen == [1, 2, 1, 2, 1]


def test_a_cpu_keeps_its_caches() -> None:
    assert copies_needed(8, torch.device("cpu")) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_inputs_outgrow_the_cache_and_work_is_waited_for() -> None:
    device = torch.device("cuda")
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    assert copies_needed(cache // 4, device) * (cache // 4) > cache
    assert copies_needed(2 * cache, device) >= 2
    matrix = torch.ones(4096, 4096, device=device)
    arms = {"one": lambda: matrix @ matrix, "four": lambda: [matrix @ matrix for _ in range(4)]}
    found = interleaved(arms, frames=1, rounds=5, warm_up=2)
    assert all(each.on_gpu for each in found.values())
    # Launching alone takes about as long for either: only waiting tells them apart.
    assert 2 < found["four"].cost / found["one"].cost < 8
    assert math.isfinite(found["one"].cost)
