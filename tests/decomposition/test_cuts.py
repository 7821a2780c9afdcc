import numpy as np

from slotcli.decomposition.resets import CutFinder


def scene(seed, count, size=(90, 160)):
    """A moving texture of one colour family, with noise."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, 3)
    ground = np.clip(base + rng.integers(-20, 20, (*size, 3)), 0, 255)
    for index in range(count):
        frame = np.roll(ground, 2 * index, axis=1) + rng.integers(-5, 5, (*size, 3))
        yield np.clip(frame, 0, 255).astype(np.uint8)


def test_cuts_are_found_where_scenes_meet_and_nowhere_else():
    finder = CutFinder()
    lengths = [40, 30, 25]
    found, number = [], 0
    for seed, length in zip((1, 4, 8), lengths, strict=True):
        for frame in scene(seed, length):
            if finder.is_cut(frame):
                found.append(number)
            number += 1
    assert found == [40, 70]


def test_a_flash_is_no_two_cuts():
    finder = CutFinder()
    frames = [*scene(1, 20), np.full((90, 160, 3), 255, np.uint8), *scene(1, 20)]
    assert sum(finder.is_cut(frame) for frame in frames) <= 1
