from itertools import permutations

import numpy as np
import pytest

from slotcli.decomposition.resets import match_slots


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_best_of_all_pairings(seed):
    rng = np.random.default_rng(seed)
    before, after = rng.normal(size=(2, 5, 7))
    a, b = before - before.mean(0), after - after.mean(0)
    a, b = a / np.linalg.norm(a, axis=1)[:, None], b / np.linalg.norm(b, axis=1)[:, None]
    best = max(permutations(range(5)), key=lambda order: (a * b[list(order)]).sum())
    assert match_slots(before, after).tolist() == list(best)


def test_shuffled_slots_find_their_places_again_under_a_common_shift():
    rng = np.random.default_rng(0)
    before = rng.normal(size=(8, 16)).astype(np.float32)
    order = rng.permutation(8)
    after = (1.5 * before + 40)[order] + rng.normal(size=(8, 16)) * 0.05
    np.testing.assert_array_equal(order[match_slots(before, after)], np.arange(8))


@pytest.mark.parametrize("seed", range(20))
def test_the_background_continues_itself_and_the_others_are_paired_best(seed):
    rng = np.random.default_rng(seed)
    before, after = rng.normal(size=(2, 5, 40))
    after[[0, 3]] = before[[3, 0]]  # unless told otherwise, they trade numbers
    assert match_slots(before, after)[0] == 3
    a, b = before - before.mean(0), after - after.mean(0)
    a, b = a / np.linalg.norm(a, axis=1)[:, None], b / np.linalg.norm(b, axis=1)[:, None]
    orders = [order for order in permutations(range(5)) if order[0] == 0]
    best = max(orders, key=lambda order: (a * b[list(order)]).sum())
    assert match_slots(before, after, background=0).tolist() == list(best)


def test_slots_that_are_all_alike_have_an_order_too():
    assert sorted(match_slots(np.zeros((3, 4)), np.ones((3, 4)))) == [0, 1, 2]
