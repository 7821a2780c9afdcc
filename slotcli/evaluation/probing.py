"""Probes: how well properties of objects and scenes can be read from slots, by cross-validation.

Every clip is in one fold. Beside the readouts of slots are those of features that need no slots, by
the same folds, a constant, and a readout fitted to other clips' labels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from slotcli.evaluation.clip_folds import clip_folds
from slotcli.evaluation.intervals import MeanInterval, figure_interval
from slotcli.evaluation.mlp_readout import fit_mlp
from slotcli.evaluation.readouts import Features, Fit, Target, fit_constant, fit_linear

ReadoutName = Literal["linear", "mlp"]
READOUTS: dict[ReadoutName, tuple[str, Fit]] = {
    "linear": ("linear", fit_linear),
    "mlp": ("MLP", fit_mlp),
}
SLOTS = "slots"
SHUFFLED = "labels of other clips"
NUMBER_SCORES = {"r2": "R2", "mean_absolute_error": "mean absolute error"}
CLASS_SCORES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
LEAST_CLIPS = 3  # two to train on, for the choice of the penalty, and one to hold out
_INTERVALS = 0  # seed of the resampling

Figure = Callable[[Float64[np.ndarray, "m k"]], Float64[np.ndarray, " m"]]


@dataclass(frozen=True)
class ProbeRows:
    """Rows of one target with features: n rows, the values or the codes of `classes`."""

    clips: Int64[np.ndarray, " n"]  # which clip a row is of
    slots: Features
    trivial: Float64[np.ndarray, "n e"]
    trivial_name: str
    target: Target
    classes: tuple[str, ...] | None


@dataclass(frozen=True)
class Readout:
    """The held-out predictions of one readout, and its scores with intervals over clips."""

    name: str
    features: str  # SLOTS, the trivial features' name, or empty
    folds: Int64[np.ndarray, " n"]  # in which each row was held out
    truth: Target
    predicted: Target
    scores: dict[str, MeanInterval]
    chosen: list[dict[str, float]]  # per fold


@dataclass(frozen=True)
class Lead:
    """By how much a readout of slots is ahead of the best baseline, in the first score."""

    readout: str
    baseline: str
    difference: MeanInterval

    @property
    def ahead(self) -> bool | None:
        """Whether the interval is above 0 (True) or below it (False); None if it covers 0."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None or low <= 0 <= high:
            return None
        return low > 0


@dataclass(frozen=True)
class Probe:
    """The readouts of one target, and the leads of the readouts of slots."""

    readouts: list[Readout]
    leads: list[Lead]


def why_not(rows: ProbeRows, folds: int) -> str | None:
    """The reason why the target cannot be probed with this number of folds; None if it can."""
    clips = len(np.unique(rows.clips))
    if clips < max(folds, LEAST_CLIPS) or clips - -(-clips // folds) < LEAST_CLIPS - 1:
        needed = max(folds, LEAST_CLIPS if folds > 2 else LEAST_CLIPS + 1)
        return (
            f"{clips} {'clip has' if clips == 1 else 'clips have'} labels, and {folds} folds by "
            f"clip need {needed}."
        )
    values = np.unique(rows.target)
    if len(values) < 2:
        return "All its labels are equal."
    if rows.classes is None:
        return None
    in_clips = [len(np.unique(rows.clips[rows.target == code])) for code in values]
    if max(in_clips) < 2:
        return "No class occurs in two clips."
    return None


def probe(
    rows: ProbeRows,
    *,
    folds: int,
    readouts: Sequence[ReadoutName] = tuple(READOUTS),
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> Probe:
    """Cross-validate readouts and baselines of one target; `progress` is called after each fit.

    Scores are pooled over all held-out rows: R2 is about the mean of all labels, mean absolute
    error is in the target's unit, balanced accuracy is the mean over classes of their recall. The
    intervals resample clips, with the predictions as they are. Raises ValueError where `why_not`
    gives a reason.
    """
    if reason := why_not(rows, folds):
        raise ValueError(reason)
    categorical = rows.classes is not None
    divided = partial(clip_folds, categorical=categorical, count=folds, seed=seed)
    found = list[Readout]()

    def add(name: str, features: str, fit: Fit, table: Features, truth: Target) -> None:
        held = divided(rows.clips, truth)
        predicted, chosen = cross_validate(
            fit, table, truth, rows.clips, held, categorical=categorical, seed=seed
        )
        found.append(_scored(rows, name, features, held, truth, predicted, chosen))
        progress()

    for features, table in ((SLOTS, rows.slots), (rows.trivial_name, rows.trivial)):
        for kind in readouts:
            shown, fit = READOUTS[kind]
            add(f"{features}, {shown}", features, fit, table, rows.target)
    found.append(_chance(rows, divided(rows.clips, rows.target), seed))
    shuffled = labels_of_other_clips(rows.target, rows.clips, seed)
    shown, fit = READOUTS[readouts[0]]
    add(f"{SLOTS}, {shown}, {SHUFFLED}", SHUFFLED, fit, rows.slots, shuffled)
    return Probe(found, _leads(rows, found))


def number_of_readouts(readouts: Sequence[ReadoutName]) -> int:
    """The number of times that `probe` calls `progress`."""
    return 2 * len(readouts) + 1


def cross_validate(
    fit: Fit,
    features: Features,
    target: Target,
    clips: Int64[np.ndarray, " n"],
    folds: Int64[np.ndarray, " n"],
    *,
    categorical: bool,
    seed: int,
) -> tuple[Target, list[dict[str, float]]]:
    """The prediction for each row by a readout fitted on the other folds, and each fold's choice.

    The readout is given the rows of the other folds and no others.
    """
    predicted, chosen = np.full(len(target), np.nan), list[dict[str, float]]()
    for held in range(int(folds.max()) + 1):
        train, test = folds != held, folds == held
        fitted = fit(
            features[train], target[train], clips[train], categorical=categorical, seed=seed
        )
        predicted[test] = fitted.predict(features[test])
        chosen.append(fitted.chosen)
    return predicted, chosen


def labels_of_other_clips(target: Target, clips: Int64[np.ndarray, " n"], seed: int) -> Target:
    """Gives each clip the labels of another one, in a random order, repeated or cut to its length.

    Labels that are alike within clips stay alike, so that a readout which knew a held-out clip
    would score above chance. Their order does not stay: slots of one number, and first frames, are
    alike in all clips.
    """
    rng = np.random.default_rng(seed)
    names = rng.permutation(np.unique(clips))
    shuffled = np.empty_like(target)
    for own, other in zip(names, np.roll(names, 1), strict=True):
        rows, labels = np.flatnonzero(clips == own), target[clips == other]
        shuffled[rows] = rng.permutation(np.resize(labels, len(rows)))
    return shuffled


def _chance(rows: ProbeRows, folds: Int64[np.ndarray, " n"], seed: int) -> Readout:
    """The mean, or the most frequent class, of all labels, held out or not."""
    # E12: of the other folds' labels it would be what the held-out clips have less of.
    categorical = rows.classes is not None
    fitted = fit_constant(rows.slots, rows.target, rows.clips, categorical=categorical, seed=seed)
    name = "most frequent class" if categorical else "mean"
    predicted = fitted.predict(rows.slots)
    return _scored(rows, name, "", folds, rows.target, predicted, [])


def _scored(
    rows: ProbeRows,
    name: str,
    features: str,
    folds: Int64[np.ndarray, " n"],
    truth: Target,
    predicted: Target,
    chosen: list[dict[str, float]],
) -> Readout:
    scores = {
        score: figure_interval(sums, figure, seed=_INTERVALS)
        for score, (sums, figure) in _score_sums(rows, truth, predicted).items()
    }
    return Readout(name, features, folds, truth, predicted, scores, chosen)


def _score_sums(
    rows: ProbeRows, truth: Target, predicted: Target
) -> dict[str, tuple[Float64[np.ndarray, "c k"], Figure]]:
    """For each score, sums per clip, and the score as a function of such sums."""
    if rows.classes is None:
        away = truth - truth.mean()  # sums of squares keep their digits
        each = np.stack([np.ones_like(truth), away, away**2, (truth - predicted) ** 2], axis=1)
        error = np.stack([np.ones_like(truth), np.abs(truth - predicted)], axis=1)
        return {
            "r2": (_per_clip(each, rows.clips), _r2),
            "mean_absolute_error": (_per_clip(error, rows.clips), lambda s: s[:, 1] / s[:, 0]),
        }
    is_class = truth[:, None] == np.arange(len(rows.classes))
    hit = is_class & (truth == predicted)[:, None]
    sums = _per_clip(np.concatenate([hit, is_class], axis=1).astype(np.float64), rows.clips)
    return {"accuracy": (sums, _accuracy), "balanced_accuracy": (sums, _balanced_accuracy)}


def _per_clip(
    each: Float64[np.ndarray, "n k"], clips: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, "c k"]:
    names, which = np.unique(clips, return_inverse=True)
    sums = np.zeros((len(names), each.shape[1]))
    np.add.at(sums, which, each)
    return sums


def _r2(sums: Float64[np.ndarray, "m 4"]) -> Float64[np.ndarray, " m"]:
    count, total, squares, errors = sums.T
    around_mean = squares - total**2 / count
    # Draws of clips with equal labels leave rounding errors alone.
    return 1 - errors / np.where(around_mean > 1e-12 * squares, around_mean, np.nan)


def _accuracy(sums: Float64[np.ndarray, "m k"]) -> Float64[np.ndarray, " m"]:
    hits, counts = np.split(sums, 2, axis=1)
    return hits.sum(1) / counts.sum(1)


def _balanced_accuracy(sums: Float64[np.ndarray, "m k"]) -> Float64[np.ndarray, " m"]:
    hits, counts = np.split(sums, 2, axis=1)
    recall = hits / np.maximum(counts, 1)  # 0 for classes that do not occur
    return recall.sum(1) / (counts > 0).sum(1)


def _leads(rows: ProbeRows, found: list[Readout]) -> list[Lead]:
    """Each readout of slots beside the baseline that is best in the first score."""
    score = "r2" if rows.classes is None else "balanced_accuracy"
    known = [own for own in found if own.scores[score].mean is not None]
    baselines = [own for own in known if own.features not in (SLOTS, SHUFFLED)]
    best = max(baselines, key=lambda own: own.scores[score].mean or 0.0)
    return [_lead(rows, own, best, score) for own in known if own.features == SLOTS]


def _lead(rows: ProbeRows, own: Readout, baseline: Readout, score: str) -> Lead:
    """The difference of both, with an interval over the same draws of clips."""
    sums, figure = _score_sums(rows, own.truth, own.predicted)[score]
    others, _ = _score_sums(rows, baseline.truth, baseline.predicted)[score]
    width = sums.shape[1]

    def difference(both: Float64[np.ndarray, "m k"]) -> Float64[np.ndarray, " m"]:
        return figure(both[:, :width]) - figure(both[:, width:])

    interval = figure_interval(np.hstack([sums, others]), difference, seed=_INTERVALS)
    return Lead(own.name, baseline.name, interval)
