"""Soft masks without some of the slots."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float, Float32

_NOTHING = 1e-3  # soft mask at a position, below which another slot receives hardly more


def without_slots(
    masks: Float[np.ndarray, "t n i j"], removed: Collection[int], background: Collection[int]
) -> Float32[np.ndarray, "t n i j"]:
    """The soft masks of the same slots, where those of the `removed` ones are 0.

    Their values go to the slots of the `background` that stay, or if none does, to all others, in
    proportion to what these have at the position; so the sum over n stays the same.
    """
    changed = masks.astype(np.float32)
    removed = sorted(removed)
    staying = [slot for slot in range(masks.shape[1]) if slot not in removed]
    receiving = [slot for slot in staying if slot in background] or staying
    if not (removed and receiving):
        return changed
    freed = changed[:, removed].sum(axis=1, keepdims=True)
    changed[:, removed] = 0
    weights = changed[:, receiving] + _NOTHING
    changed[:, receiving] += freed * (weights / weights.sum(axis=1, keepdims=True))
    return changed
