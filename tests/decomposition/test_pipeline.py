"""Threads that end when they should, in order, and never swallow an error."""

import threading
import time

import pytest

from slotcli.decomposition.pipeline import BackgroundWorker, Prefetcher


def running(name):
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_items_come_in_order_and_no_further_ahead_than_allowed():
    made = []

    def items():
        for number in range(50):
            made.append(number)
            yield number

    with Prefetcher(items(), 3) as ahead:
        for number, item in enumerate(ahead):
            time.sleep(0.001)
            assert item == number
            # Three wait, one is in the making.
            assert len(made) <= number + 1 + 3 + 1
    assert number == 49
    assert not running("ahead")


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        yield 2
        raise KeyError("broken")

    seen = []

    def take_all():
        with Prefetcher(items(), 5) as ahead:
            for item in ahead:
                seen.append(item)

    with pytest.raises(KeyError, match="broken"):
        take_all()
    assert seen == [1, 2]
    assert not running("ahead")


def test_leaving_early_ends_the_thread_that_waits():
    with Prefetcher(iter(range(1000)), 1) as ahead:
        assert next(iter(ahead)) == 0
    assert not running("ahead")


def test_behind_sees_every_item_in_order():
    seen = []
    with BackgroundWorker(seen.append, 2) as behind:
        for number in range(100):
            behind.put(number)
        behind.finish()
        assert seen == list(range(100))
    assert not running("behind")


def test_behind_holds_its_giver_back():
    held = threading.Event()
    taken = []

    def slow(item):
        taken.append(item)
        held.wait(10)

    given = []

    def give(behind):
        for number in range(5):
            behind.put(number)
            given.append(number)

    with BackgroundWorker(slow, 2) as behind:
        giver = threading.Thread(target=give, args=(behind,))
        giver.start()
        deadline = time.monotonic() + 10
        while len(given) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        assert given == [0, 1, 2]  # one is being worked on, two wait
        held.set()
        giver.join()
        behind.finish()
    assert taken == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [1, 20])
def test_an_error_behind_comes_out_of_put_or_finish(count):
    def broken(item):
        raise OSError("no space")

    def give():
        with BackgroundWorker(broken, 1) as behind:
            for number in range(count):
                behind.put(number)
            behind.finish()

    with pytest.raises(OSError, match="no space"):
        give()
    assert not running("behind")


def test_what_waits_is_dropped_where_nobody_finishes():
    seen = []

    def slow(item):
        time.sleep(0.05)
        seen.append(item)

    def interrupted():
        with BackgroundWorker(slow, 50) as behind:
            for number in range(50):
                behind.put(number)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(seen) < 50
    assert not running("behind")


def test_busy_counts_work_and_not_waiting():
    def items():
        for _ in range(3):
            time.sleep(0.02)
            yield 1

    with Prefetcher(items(), 1) as ahead, BackgroundWorker(lambda _: time.sleep(0.02), 1) as behind:
        for item in ahead:
            behind.put(item)
        behind.finish()
        time.sleep(0.3)
    assert 0.06 <= ahead.busy < 0.3
    assert 0.06 <= behind.busy < 0.3


def test_waited_counts_what_a_full_queue_costs():
    with BackgroundWorker(lambda _: time.sleep(0.05), 1) as behind:
        behind.put(1)
        assert behind.waited < 0.04
        for number in range(3):
            behind.put(number)
        behind.finish()
    assert 0.05 <= behind.waited < behind.busy
