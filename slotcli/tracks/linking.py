"""The same slots before and after a model's state was given up."""

import numpy as np
from jaxtyping import Float, Int64


def linked(
    before: Float[np.ndarray, "n d"], after: Float[np.ndarray, "n d"]
) -> Int64[np.ndarray, " n"]:
    """For each slot of `before` the slot of `after` that goes on as it: a permutation.

    The pairs have the greatest sum of cosines between slots whose mean over n is taken off, for
    all slots of a frame have much in common. Kuhn 1955.
    """
    from scipy.optimize import linear_sum_assignment  # loads for longer than a short clip takes

    before, after = (slots - slots.mean(axis=0) for slots in (before, after))
    norms = np.linalg.norm(before, axis=1)[:, None] * np.linalg.norm(after, axis=1)
    cosines = (before @ after.T) / np.maximum(norms, np.finfo(np.float32).tiny)
    return linear_sum_assignment(cosines, maximize=True)[1]
