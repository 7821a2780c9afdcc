"""Batches made ahead: those that were asked for, by one thread, which ends when it should."""

import threading
import time

import pytest

from slotcli.data.batches import Batches


def running() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("batches")]


def test_a_batch_is_that_of_its_step_and_part_in_any_order() -> None:
    with Batches(lambda step, part: (step, part), 20) as batches:
        asked = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (1, 0), (1, 1), (19, 1), (3, 0)]
        assert [batches.of(*key) for key in asked] == asked


def test_later_steps_are_made_meanwhile_within_the_run_and_by_one_thread_at_a_time() -> None:
    made: list[int] = []
    inside = threading.Semaphore(1)

    def make(step: int, part: int) -> int:
        assert inside.acquire(blocking=False)
        made.append(step)
        inside.release()
        return step

    with Batches(make, 8) as batches:
        batches.of(2, 0)
        while len(made) < 5:
            time.sleep(0.001)
        for step in range(3, 8):
            batches.of(step, 0)
    assert made == [2, 3, 4, 5, 6, 7]


def test_waiting_is_counted_and_is_less_than_making() -> None:
    def make(step: int, part: int) -> int:
        time.sleep(0.05)
        return step

    with Batches(make, 4) as batches:
        batches.of(0, 0)
        first = batches.waited
        assert first > 0.04  # the clocks of sleeping and of measuring differ a little
        time.sleep(0.4)  # in which the other three are made
        for step in range(1, 4):
            batches.of(step, 0)
        assert batches.waited - first < 0.05


def test_what_making_raises_comes_out_at_its_step_and_the_thread_ends() -> None:
    def make(step: int, part: int) -> int:
        if step == 2:
            raise OSError("gone")
        return step

    with Batches(make, 9) as batches:
        assert [batches.of(0, 0), batches.of(1, 0)] == [0, 1]
        with pytest.raises(OSError, match="gone"):
            batches.of(2, 0)
        assert len(running()) == 1
    assert running() == []
    with batches:
        assert batches.of(1, 0) == 1
    assert running() == []
