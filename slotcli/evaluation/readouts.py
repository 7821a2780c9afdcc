"""Readouts of features: ridge, multinomial logistic regression, a constant.

A readout is fitted on training rows alone, which it is given without any others: features are
standardised on them, and the penalty is chosen on them by inner folds of whole clips.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from slotcli.evaluation.clip_folds import clip_folds

INNER_FOLDS = 3
# Of the sum over rows of squared errors, or of losses in nats, with standardised features.
RIDGE_PENALTIES = np.logspace(-2, 6, 17)
LOGISTIC_PENALTIES = np.logspace(-1, 4, 6)
_LEAST = 1e-12  # probability of a class that the training rows of an inner fold lack
_CONSTANT = 1e-9  # of the mean; features that deviate less do not vary

Features = Float64[np.ndarray, "n d"]
Target = Float64[np.ndarray, " n"]


@dataclass(frozen=True)
class Fitted:
    """A fitted readout: target values, or codes of classes, from features; and what was chosen."""

    predict: Callable[[Features], Target]
    chosen: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class Fit(Protocol):
    """Fits a readout on training rows; the target holds codes of classes if `categorical`."""

    def __call__(
        self,
        features: Features,
        target: Target,
        clips: Int64[np.ndarray, " n"],
        *,
        categorical: bool,
        seed: int,
    ) -> Fitted: ...


@dataclass(frozen=True)
class Scaling:
    """Mean and deviation of training rows; a feature that does not vary becomes 0."""

    mean: Float64[np.ndarray, " d"]
    deviation: Float64[np.ndarray, " d"]

    @staticmethod
    def of(features: Features) -> "Scaling":
        mean, deviation = features.mean(0), features.std(0)
        varies = deviation > _CONSTANT * np.abs(mean)
        return Scaling(mean, np.where(varies, deviation, np.inf))

    def __call__(self, features: Features) -> Features:
        return (features - self.mean) / self.deviation


@dataclass(frozen=True)
class Linear:
    """Weights and intercepts of one output, or of one per class."""

    weights: Float64[np.ndarray, "d k"]
    intercepts: Float64[np.ndarray, " k"]

    def __call__(self, features: Features) -> Float64[np.ndarray, "n k"]:
        return features @ self.weights + self.intercepts


def fit_constant(
    features: Features,
    target: Target,
    clips: Int64[np.ndarray, " n"],
    *,
    categorical: bool,
    seed: int,
) -> Fitted:
    """The training rows' mean, or their most frequent class, whatever the features."""
    value = float(target.mean())
    if categorical:
        codes, counts = np.unique(target, return_counts=True)
        value = float(codes[counts.argmax()])
    return Fitted(lambda rows: np.full(len(rows), value))


def fit_linear(
    features: Features,
    target: Target,
    clips: Int64[np.ndarray, " n"],
    *,
    categorical: bool,
    seed: int,
) -> Fitted:
    """Ridge regression, or multinomial logistic regression of the classes of the training rows."""
    if not categorical:
        return _fit_ridge(features, target, clips, seed)
    codes, own = np.unique(target, return_inverse=True)
    if len(codes) == 1:
        return fit_constant(features, target, clips, categorical=True, seed=seed)
    return _fit_logistic(features, codes, own.astype(np.int64), clips, seed)


def inner_parts(
    target: Target, clips: Int64[np.ndarray, " n"], *, categorical: bool, seed: int
) -> list[tuple[Int64[np.ndarray, " a"], Int64[np.ndarray, " b"]]]:
    """Training and held-out rows of each inner fold; at least two clips are needed."""
    count = min(INNER_FOLDS, len(np.unique(clips)))
    folds = clip_folds(clips, target, categorical=categorical, count=count, seed=seed)
    return [(np.flatnonzero(folds != own), np.flatnonzero(folds == own)) for own in range(count)]


def ridge_path(
    features: Features, target: Target, penalties: Float64[np.ndarray, " p"]
) -> list[Linear]:
    """For each penalty a, the minimum of |y - Xw - b|^2 + a |w|^2 for standardised features X."""
    rotated, basis = _row_space(features)
    squares = (rotated**2).sum(0)
    mean = float(target.mean())
    projected = rotated.T @ (target - mean)
    return [
        Linear((basis @ (projected / (squares + penalty)))[:, None], np.array([mean]))
        for penalty in penalties
    ]


def logistic_path(
    features: Features,
    classes: Int64[np.ndarray, " n"],
    count: int,
    penalties: Float64[np.ndarray, " p"],
) -> list[Linear]:
    """For each penalty a, the minimum of the sum of cross-entropies + a/2 |W|^2.

    The penalties go from large to small, each solution the start of the next. Every class has
    weights of its own, so that two classes with penalty a are binary logistic regression with a/2.
    """
    rotated, basis = _row_space(features)
    wanted = np.eye(count)[classes]
    start = np.zeros((rotated.shape[1] + 1, count))
    start[-1] = np.log(np.maximum(wanted.mean(0), _LEAST))
    path = list[Linear]()
    for penalty in penalties:
        start = _minimum(rotated, wanted, float(penalty), start)
        path.append(Linear(basis @ start[:-1], start[-1]))
    return path


def _minimum(
    features: Features, wanted: Float64[np.ndarray, "n k"], penalty: float, start: np.ndarray
) -> Float64[np.ndarray, "r k"]:
    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        both = flat.reshape(start.shape)
        logits = features @ both[:-1] + both[-1]
        error = softmax(logits, axis=1) - wanted
        loss = -(wanted * log_softmax(logits, axis=1)).sum() + penalty / 2 * (both[:-1] ** 2).sum()
        gradient = np.vstack([features.T @ error + penalty * both[:-1], error.sum(0)])
        return float(loss) / len(features), gradient.ravel() / len(features)

    found = minimize(
        loss_and_gradient,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 500, "gtol": 1e-6, "ftol": 1e-12},
    )
    return found.x.reshape(start.shape)


def _row_space(
    features: Features,
) -> tuple[Float64[np.ndarray, "n r"], Float64[np.ndarray, "d r"]]:
    """Coordinates of the rows along orthonormal directions that span them, and these directions.

    Penalised weights lie in that space, and there are at most as many directions as rows. With the
    columns orthogonal, every penalty of a ridge costs one product.
    """
    rows, columns = features.shape
    if rows < columns:
        squares, left = np.linalg.eigh(features @ features.T)
        kept = squares > squares[-1] * rows * np.finfo(float).eps
        basis = features.T @ (left[:, kept] / np.sqrt(squares[kept]))
    else:
        squares, basis = np.linalg.eigh(features.T @ features)
        basis = basis[:, squares > squares[-1] * columns * np.finfo(float).eps]
    return features @ basis, basis


def _fit_ridge(
    features: Features, target: Target, clips: Int64[np.ndarray, " n"], seed: int
) -> Fitted:
    errors = np.zeros(len(RIDGE_PENALTIES))
    for train, held in inner_parts(target, clips, categorical=False, seed=seed):
        scaling = Scaling.of(features[train])
        path = ridge_path(scaling(features[train]), target[train], RIDGE_PENALTIES)
        shown = scaling(features[held])
        errors += [((linear(shown)[:, 0] - target[held]) ** 2).sum() for linear in path]
    # The larger penalty of equals: where features do not vary, all predict the mean.
    best = len(errors) - 1 - int(errors[::-1].argmin())
    scaling = Scaling.of(features)
    [linear] = ridge_path(scaling(features), target, RIDGE_PENALTIES[best : best + 1])
    return Fitted(
        lambda rows: linear(scaling(rows))[:, 0], {"penalty": float(RIDGE_PENALTIES[best])}
    )


def _fit_logistic(
    features: Features,
    codes: Float64[np.ndarray, " k"],
    classes: Int64[np.ndarray, " n"],
    clips: Int64[np.ndarray, " n"],
    seed: int,
) -> Fitted:
    penalties = LOGISTIC_PENALTIES[::-1]
    losses = np.zeros(len(penalties))
    parts = inner_parts(classes.astype(np.float64), clips, categorical=True, seed=seed)
    for train, held in parts:
        scaling = Scaling.of(features[train])
        path = logistic_path(scaling(features[train]), classes[train], len(codes), penalties)
        shown = scaling(features[held])
        for number, linear in enumerate(path):
            likely = log_softmax(linear(shown), axis=1)[np.arange(len(held)), classes[held]]
            losses[number] -= np.maximum(likely, np.log(_LEAST)).sum()
    best = int(losses.argmin())
    scaling = Scaling.of(features)
    linear = logistic_path(scaling(features), classes, len(codes), penalties[: best + 1])[-1]
    return Fitted(
        lambda rows: codes[linear(scaling(rows)).argmax(1)], {"penalty": float(penalties[best])}
    )
