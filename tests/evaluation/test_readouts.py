"""Readouts against scikit-learn, which knows none of our code."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from slotcli.evaluation import mlp_readout
from slotcli.evaluation.clip_folds import clip_folds
from slotcli.evaluation.mlp_readout import fit_mlp
from slotcli.evaluation.probing import cross_validate
from slotcli.evaluation.readouts import (
    RIDGE_PENALTIES,
    Scaling,
    fit_linear,
    inner_parts,
    logistic_path,
    ridge_path,
)

RNG = np.random.default_rng(0)
CLIPS = np.repeat(np.arange(12), 5)


def features(n: int, d: int) -> np.ndarray:
    """Correlated features of different scales, far from 0."""
    rng = np.random.default_rng(n + d)
    return 100 + rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.logspace(-2, 2, d)


@pytest.mark.parametrize(("n", "d"), [(60, 8), (30, 50)])
def test_ridge_is_scikit_learn_s(n: int, d: int) -> None:
    x = Scaling.of(features(n, d))(features(n, d))
    y = x @ RNG.normal(size=d) + RNG.normal(size=n) + 7
    penalties = np.array([1e-2, 3.0, 1e4])
    for penalty, linear in zip(penalties, ridge_path(x, y, penalties), strict=True):
        expected = Ridge(alpha=penalty, solver="svd").fit(x, y)
        assert linear.weights[:, 0] == pytest.approx(expected.coef_, rel=1e-6, abs=1e-9)
        assert linear.intercepts[0] == pytest.approx(expected.intercept_)


def test_scaling_is_scikit_learn_s_and_a_constant_feature_is_0() -> None:
    x = features(40, 6)
    shown = features(40, 6)[:5] + 1
    assert Scaling.of(x)(shown) == pytest.approx(StandardScaler().fit(x).transform(shown))
    x[:, 2] = 0.1
    assert (Scaling.of(x)(x + 1)[:, 2] == 0).all()


@pytest.mark.parametrize("d", [6, 90])
def test_logistic_is_scikit_learn_s(d: int) -> None:
    x = Scaling.of(features(80, d))(features(80, d))
    y = (x[:, :4] + RNG.normal(size=(80, 4))).argmax(1)
    penalties = np.array([50.0, 1.0])
    for penalty, linear in zip(penalties, logistic_path(x, y, 4, penalties), strict=True):
        model = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=5000).fit(x, y)
        found = linear(x)
        found = np.exp(found - np.logaddexp.reduce(found, axis=1)[:, None])
        assert found == pytest.approx(model.predict_proba(x), abs=2e-4)


def test_two_classes_are_binary_regression_with_half_the_penalty() -> None:
    x = Scaling.of(features(80, 5))(features(80, 5))
    y = (x[:, 0] + RNG.normal(size=80) > 0).astype(int)
    [linear] = logistic_path(x, y, 2, np.array([4.0]))
    model = LogisticRegression(C=1 / 2.0, tol=1e-8, max_iter=5000).fit(x, y)
    weights = linear.weights[:, 1] - linear.weights[:, 0]
    assert weights == pytest.approx(model.coef_[0], abs=1e-3)


def test_nested_cross_validation_predicts_what_scikit_learn_s_does() -> None:
    x = features(60, 20)
    y = (x - 100) @ RNG.normal(size=20) / 100 + RNG.normal(size=60)
    folds = clip_folds(CLIPS, y, categorical=False, count=4, seed=5)
    found, chosen = cross_validate(fit_linear, x, y, CLIPS, folds, categorical=False, seed=5)
    for held in range(4):
        train = folds != held
        search = GridSearchCV(
            make_pipeline(StandardScaler(), Ridge(solver="svd")),
            {"ridge__alpha": RIDGE_PENALTIES},
            cv=inner_parts(y[train], CLIPS[train], categorical=False, seed=5),
            scoring="neg_mean_squared_error",
        ).fit(x[train], y[train])
        assert chosen[held]["penalty"] == pytest.approx(search.best_params_["ridge__alpha"])
        assert found[~train] == pytest.approx(search.predict(x[~train]), rel=1e-6)


def test_inner_folds_divide_clips_too() -> None:
    for train, held in inner_parts(RNG.normal(size=60), CLIPS, categorical=False, seed=0):
        assert not set(CLIPS[train]) & set(CLIPS[held])
        assert len(train) + len(held) == 60


@pytest.mark.parametrize("fit", [fit_linear, fit_mlp], ids=["linear", "mlp"])
@pytest.mark.parametrize("categorical", [False, True])
def test_held_out_rows_have_no_part_in_what_is_fitted(fit, categorical, monkeypatch) -> None:
    """One held-out row is moved far away, and held-out labels change: others are predicted as ever.

    Standardisation over all rows, or a penalty chosen on them, would change them.
    """
    monkeypatch.setattr(mlp_readout, "STOPS", (0, 40))
    x = features(60, 6)
    y = np.digitize(x[:, 5], np.quantile(x[:, 5], [0.3, 0.6])).astype(float)
    folds = clip_folds(CLIPS, y, categorical=categorical, count=3, seed=0)
    held = np.flatnonzero(folds == 0)
    before, _ = cross_validate(fit, x, y, CLIPS, folds, categorical=categorical, seed=0)
    x[held[0]] = 1e6
    y[held] = 2 - y[held]
    after, _ = cross_validate(fit, x, y, CLIPS, folds, categorical=categorical, seed=0)
    assert (after[held[1:]] == before[held[1:]]).all()
    others = folds != 0
    assert (after[others] != before[others]).any()


def test_a_class_that_training_rows_lack_is_never_predicted() -> None:
    x, y = features(60, 4), (CLIPS % 3).astype(float)
    kept = y != 1
    for fit in (fit_linear, fit_mlp):
        fitted = fit(x[kept], y[kept], CLIPS[kept], categorical=True, seed=0)
        assert set(fitted.predict(x)) <= {0.0, 2.0}
        alone = fit(x[y == 1], y[y == 1], CLIPS[y == 1], categorical=True, seed=0)
        assert set(alone.predict(x)) == {1.0}


def test_the_perceptron_learns_what_a_line_cannot_and_the_same_each_time() -> None:
    x = np.random.default_rng(1).normal(size=(240, 3))
    y, clips = np.abs(x[:, 0]) * 50 + 1000, np.repeat(np.arange(24), 10)
    train = clips < 18
    errors = {}
    for fit in (fit_linear, fit_mlp):
        fitted = fit(x[train], y[train], clips[train], categorical=False, seed=0)
        errors[fit] = np.mean((fitted.predict(x[~train]) - y[~train]) ** 2) / y[~train].var()
    assert errors[fit_linear] > 0.8
    assert errors[fit_mlp] < 0.2
    state = torch.random.get_rng_state()
    again = fit_mlp(x[train], y[train], clips[train], categorical=False, seed=0)
    assert (torch.random.get_rng_state() == state).all()
    assert np.mean((again.predict(x[~train]) - y[~train]) ** 2) / y[~train].var() == errors[fit_mlp]


def test_the_perceptron_stays_at_the_mean_where_no_step_helps() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(60, 10)), np.repeat(rng.normal(size=12), 5) + 3
    fitted = fit_mlp(x, y, CLIPS, categorical=False, seed=0)
    assert fitted.chosen["steps"] == 0
    assert fitted.predict(x) == pytest.approx(np.full(60, y.mean()), abs=1e-5)
