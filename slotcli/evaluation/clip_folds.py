"""Divides rows into folds by clip, so that rows of one clip are never in two folds."""

import numpy as np
from jaxtyping import Float64, Int64


def clip_folds(
    clips: Int64[np.ndarray, " n"],
    target: Float64[np.ndarray, " n"],
    *,
    categorical: bool,
    count: int,
    seed: int,
) -> Int64[np.ndarray, " n"]:
    """The fold of each row, 0 to count - 1; folds have equally many clips, or one less.

    Folds are stratified: clips are sorted by their most frequent class, or their mean, ties in an
    order from `seed`, and each run of `count` of them has one clip per fold. Otherwise the training
    clips would have fewer of what the held-out ones have more of (E12).
    """
    names, which = np.unique(clips, return_inverse=True)
    rng = np.random.default_rng(seed)
    levels = [_level(target[which == own], categorical) for own in range(len(names))]
    order = np.lexsort((rng.random(len(names)), np.array(levels)))
    fold_of_clip = np.empty(len(names), np.int64)
    for first in range(0, len(names), count):
        run = order[first : first + count]
        fold_of_clip[run] = rng.permutation(count)[: len(run)]
    return fold_of_clip[which]


def _level(target: Float64[np.ndarray, " m"], categorical: bool) -> float:
    if not categorical:
        return float(target.mean())
    codes, counts = np.unique(target, return_counts=True)
    return float(codes[counts.argmax()])
