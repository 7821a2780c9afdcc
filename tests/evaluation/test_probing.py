from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, mean_absolute_error, r2_score

from slotcli.evaluation import mlp_readout
from slotcli.evaluation.clip_folds import clip_folds
from slotcli.evaluation.probing import (
    SLOTS,
    ProbeRows,
    Readout,
    cross_validate,
    labels_of_other_clips,
    probe,
    why_not,
)
from slotcli.evaluation.readouts import fit_linear

CLIPS = np.repeat(np.arange(24), 4)
COUNT = len(CLIPS)


@pytest.fixture(autouse=True)
def short_training(monkeypatch) -> None:
    monkeypatch.setattr(mlp_readout, "STOPS", (0, 60))


def made(kind: str, *, classes: bool, planted: bool) -> ProbeRows:
    """Slots that linearly contain the target, or noise; the trivial features are noise."""
    rng = np.random.default_rng(len(kind))
    slots = rng.normal(size=(COUNT, 10))
    scores = slots[:, :3] + 0.02 * rng.normal(size=(COUNT, 3))
    target = scores.argmax(1).astype(float) if classes else 5 + 3 * scores[:, 0]
    if not planted:
        slots = rng.normal(size=(COUNT, 10))
    names = ("ball", "cone", "cube") if classes else None
    return ProbeRows(CLIPS, slots, rng.normal(size=(COUNT, 3)), "places", target, names)


def by_name(rows: ProbeRows) -> dict[str, Readout]:
    return {own.name: own for own in probe(rows, folds=5, readouts=["linear"]).readouts}


def test_a_planted_number_is_read_and_only_from_slots() -> None:
    found = probe(made("planted", classes=False, planted=True), folds=5)
    names = [own.name for own in found.readouts]
    assert names == [
        "slots, linear",
        "slots, MLP",
        "places, linear",
        "places, MLP",
        "mean",
        "slots, linear, labels of other clips",
    ]
    r2 = {own.name: own.scores["r2"] for own in found.readouts}
    assert r2["slots, linear"].low > 0.99
    assert r2["slots, MLP"].low > 0.5
    assert r2["mean"].mean == pytest.approx(0)
    for name in names[2:]:
        assert r2[name].mean < 0.05, name
        assert r2[name].low <= 0 <= r2[name].high + 0.05, name
    assert [lead.ahead for lead in found.leads] == [True, True]
    assert found.leads[0].difference.low > 0.9


def test_planted_classes_are_read() -> None:
    found = by_name(made("planted", classes=True, planted=True))
    assert found["slots, linear"].scores["balanced_accuracy"].low > 0.75
    assert found["most frequent class"].scores["balanced_accuracy"].mean == pytest.approx(1 / 3)


@pytest.mark.parametrize("classes", [False, True])
def test_noise_is_not_read(classes) -> None:
    rows = made("noise", classes=classes, planted=False)
    found = probe(rows, folds=5)
    score, chance = ("balanced_accuracy", 1 / 3) if classes else ("r2", 0.0)
    for own in found.readouts:
        assert own.scores[score].low <= chance + 0.02, own.name
    assert True not in [lead.ahead for lead in found.leads]


def test_scores_are_scikit_learn_s_over_all_held_out_rows() -> None:
    for own in by_name(made("planted", classes=False, planted=False)).values():
        assert own.scores["r2"].mean == pytest.approx(r2_score(own.truth, own.predicted))
        error = mean_absolute_error(own.truth, own.predicted)
        assert own.scores["mean_absolute_error"].mean == pytest.approx(error)
    for own in by_name(made("planted", classes=True, planted=False)).values():
        expected = accuracy_score(own.truth, own.predicted)
        assert own.scores["accuracy"].mean == pytest.approx(expected)
        expected = balanced_accuracy_score(own.truth, own.predicted)
        assert own.scores["balanced_accuracy"].mean == pytest.approx(expected)


def test_what_is_alike_within_a_clip_does_not_leak_across_folds() -> None:
    """Each clip has a fingerprint and a label of its own: with rows apart, both would be known."""
    rng = np.random.default_rng(0)
    slots = rng.normal(size=(24, 30))[CLIPS] + 0.01 * rng.normal(size=(COUNT, 30))
    target = rng.normal(size=24)[CLIPS]
    rows = ProbeRows(CLIPS, slots, slots[:, :1], "one", target, None)
    found = by_name(rows)
    assert found["slots, linear"].scores["r2"].mean < 0.1
    assert found["slots, linear, labels of other clips"].scores["r2"].low < 0
    apart = rng.permutation(COUNT) % 5
    predicted, _ = cross_validate(
        fit_linear, slots, target, np.arange(COUNT), apart, categorical=False, seed=0
    )
    assert r2_score(target, predicted) > 0.95


def test_every_row_is_predicted_once_by_the_fold_that_lacks_its_clip() -> None:
    seen = list[set[int]]()

    def fit(features, target, clips, **options):
        seen.append(set(clips))
        return fit_linear(features, target, clips, **options)

    rows = made("planted", classes=False, planted=True)
    folds = clip_folds(CLIPS, rows.target, categorical=False, count=6, seed=0)
    predicted, chosen = cross_validate(
        fit, rows.slots, rows.target, CLIPS, folds, categorical=False, seed=0
    )
    assert np.isfinite(predicted).all()
    assert len(seen) == len(chosen) == 6
    for fold, clips in enumerate(seen):
        assert clips | set(CLIPS[folds == fold]) == set(range(24))
        assert not clips & set(CLIPS[folds == fold])


def test_labels_of_other_clips_are_never_a_clip_s_own() -> None:
    clips = np.array([0, 0, 0, 1, 2, 2])
    target = np.array([1.0, 2, 3, 4, 5, 6])
    shuffled = labels_of_other_clips(target, clips, seed=0)
    for own in range(3):
        assert not set(shuffled[clips == own]) & set(target[clips == own])
    assert {*shuffled[clips == 0]} in ({4.0}, {5.0, 6.0})
    clips = np.repeat(np.arange(40), 3)
    by_slot = np.tile([1.0, 2, 3], 40)  # the number of the slot alone tells the label
    shuffled = labels_of_other_clips(by_slot, clips, seed=0)
    assert abs(np.corrcoef(shuffled, by_slot)[0, 1]) < 0.3
    alike = np.repeat(np.arange(40.0), 3)
    assert (np.ptp(labels_of_other_clips(alike, clips, seed=0).reshape(40, 3), axis=1) == 0).all()


def test_a_lead_is_that_over_the_best_baseline_and_may_be_negative() -> None:
    rows = made("planted", classes=False, planted=False)
    rows = replace(rows, trivial=rows.target[:, None] + 0.1)
    found = probe(rows, folds=5, readouts=["linear"])
    [lead] = found.leads
    assert (lead.readout, lead.baseline, lead.ahead) == ("slots, linear", "places, linear", False)
    scores = {own.name: own.scores["r2"].mean for own in found.readouts}
    gap = scores["slots, linear"] - scores["places, linear"]
    assert lead.difference.mean == pytest.approx(gap)
    assert SLOTS in lead.readout


def test_a_target_that_cannot_be_probed_has_a_reason() -> None:
    rows = made("planted", classes=False, planted=True)

    def of(clips: int, **changes) -> ProbeRows:
        kept = clips > CLIPS
        part = ProbeRows(
            CLIPS[kept], rows.slots[kept], rows.trivial[kept], "places", rows.target[kept], None
        )
        return replace(part, **changes)

    assert why_not(of(4), 5) == "4 clips have labels, and 5 folds by clip need 5."
    assert why_not(of(1), 3) == "1 clip has labels, and 3 folds by clip need 3."
    assert why_not(of(3), 2) == "3 clips have labels, and 2 folds by clip need 4."
    assert why_not(of(3), 3) is why_not(of(4), 2) is why_not(of(5), 5) is None
    assert why_not(of(5, target=np.ones(20)), 5) == "All its labels are equal."
    own = CLIPS[CLIPS < 5].astype(float)
    assert why_not(of(5, target=own, classes=tuple("abcde")), 5) == "No class occurs in two clips."
    with pytest.raises(ValueError, match="4 clips"):
        probe(of(4), folds=5)
