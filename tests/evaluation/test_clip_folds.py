import numpy as np
import pytest

from slotcli.evaluation.clip_folds import clip_folds


@pytest.mark.parametrize("categorical", [True, False])
def test_a_clip_is_in_one_fold_and_folds_have_equally_many_clips(categorical) -> None:
    rng = np.random.default_rng(0)
    clips = rng.integers(17, size=300)
    folds = clip_folds(
        clips, rng.integers(4, size=300).astype(float), categorical=categorical, count=5, seed=0
    )
    of_clips = [np.unique(folds[clips == own]) for own in range(17)]
    assert {len(own) for own in of_clips} == {1}
    assert sorted(np.bincount(np.concatenate(of_clips))) == [3, 3, 3, 4, 4]


def test_folds_are_alike_in_classes_and_in_values() -> None:
    clips = np.repeat(np.arange(20), 3)
    classes = (clips % 2).astype(float)
    folds = clip_folds(clips, classes, categorical=True, count=5, seed=1)
    assert [classes[folds == own].mean() for own in range(5)] == [0.5] * 5
    values = np.where(clips == 7, 0.0, clips.astype(float))
    folds = clip_folds(clips, values, categorical=False, count=2, seed=1)
    for low in range(0, 20, 2):  # of two neighbours in value, each is in another fold
        pair = np.argsort(values[::3], kind="stable")[low : low + 2]
        assert folds[3 * pair[0]] != folds[3 * pair[1]]


def test_the_seed_decides_and_the_order_of_rows_does_not() -> None:
    clips = np.repeat(np.arange(12), 2)
    target = np.zeros(24)
    found = [clip_folds(clips, target, categorical=False, count=4, seed=s) for s in (0, 0, 1)]
    assert (found[0] == found[1]).all()
    assert (found[0] != found[2]).any()
    turned = clip_folds(clips[::-1].copy(), target, categorical=False, count=4, seed=0)
    assert (turned[::-1] == found[0]).all()
