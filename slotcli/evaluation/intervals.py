"""Confidence intervals of means, and of other figures, over clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.special import ndtr, stdtrit

RESAMPLES = 5000
LEVEL = 0.95
DRAWS_AT_ONCE = 1 << 20  # bounds the memory
# With fewer, draws of one clip alone reach the percentiles, and R2 about that clip's mean says
# nothing of the others.
LEAST_CLIPS_OF_A_FIGURE = 6


@dataclass(frozen=True)
class MeanInterval:
    """A mean, or another figure, over clips with its 95 % confidence interval.

    None if too few clips define it.
    """

    mean: float | None
    low: float | None
    high: float | None
    count: int
    dropped: int  # clips for which the score is undefined


def mean_interval(values: Sequence[float | None], *, seed: int) -> MeanInterval:
    """Return the mean of per-clip values with its expanded percentile bootstrap interval.

    None values are dropped and counted. A mean needs one value, an interval two. The percentiles
    are expanded beyond the nominal level, as Student's t is for few values (Hesterberg 2015),
    because plain ones are too narrow. Coverage at 95 %, simulated with five distributions: 94 to
    96 % from 40 clips on, 93 to 96 % with 16, 89 to 96 % with 8, 85 to 89 % with 4.
    """
    kept = np.array([value for value in values if value is not None], np.float64)
    count, dropped = len(kept), len(values) - len(kept)
    mean = float(kept.mean()) if count else None
    if count < 2:
        return MeanInterval(mean, None, None, count, dropped)
    low, high = _interval(lambda drawn: kept[drawn].mean(axis=1), count, seed)
    return MeanInterval(mean, low, high, count, dropped)


def pooled_interval(clips: Sequence[Sequence[float | None]], *, seed: int) -> MeanInterval:
    """Return the mean of the values of all clips together, as `mean_interval`.

    Clips are resampled whole, for values of one clip are alike. None values are dropped, and
    counted as values, not as clips.
    """
    kept = [[value for value in values if value is not None] for values in clips]
    sums = np.array([sum(values) for values in kept if values], np.float64)
    sizes = np.array([len(values) for values in kept if values], np.int64)
    count = int(sizes.sum())
    dropped = sum(len(values) for values in clips) - count
    mean = float(sums.sum() / count) if count else None
    if len(sums) < 2:
        return MeanInterval(mean, None, None, count, dropped)
    low, high = _interval(
        lambda drawn: sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), len(sums), seed
    )
    return MeanInterval(mean, low, high, count, dropped)


def figure_interval(
    sums: Float64[np.ndarray, "n k"],
    figure: Callable[[Float64[np.ndarray, "m k"]], Float64[np.ndarray, " m"]],
    *,
    seed: int,
) -> MeanInterval:
    """Return a figure of sums over all clips, such as R2, with its interval as `mean_interval`.

    `sums` has a row per clip, and `figure` computes one value per row of such sums, NaN where it
    is undefined; draws that leave it undefined are not counted. Whole clips are resampled. An
    interval needs 6 clips.
    """
    count = len(sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(figure(sums.sum(0, keepdims=True))[0])
        if not np.isfinite(value):
            return MeanInterval(None, None, None, 0, count)
        if count < LEAST_CLIPS_OF_A_FIGURE:
            return MeanInterval(value, None, None, count, 0)

        def of_resampled(drawn: Int64[np.ndarray, "m n"]) -> Float64[np.ndarray, " m"]:
            rows = np.arange(len(drawn))[:, None] * count
            times = np.bincount((drawn + rows).ravel(), minlength=drawn.size)
            return figure(times.reshape(drawn.shape) @ sums)

        low, high = _interval(of_resampled, count, seed)
    return MeanInterval(value, low, high, count, 0)


def _interval(
    means: Callable[[Int64[np.ndarray, "m n"]], Float[np.ndarray, " m"]], count: int, seed: int
) -> tuple[float, float]:
    """The expanded percentiles of the means of resampled clips, of which there are `count`."""
    rng = np.random.default_rng(seed)
    at_once = max(1, DRAWS_AT_ONCE // count)
    found = [
        means(rng.integers(count, size=(min(at_once, RESAMPLES - first), count)))
        for first in range(0, RESAMPLES, at_once)
    ]
    tail = ndtr((count / (count - 1)) ** 0.5 * stdtrit(count - 1, (1 - LEVEL) / 2))
    low, high = np.nanquantile(np.concatenate(found), (tail, 1 - tail))
    return float(low), float(high)
