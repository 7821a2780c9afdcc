"""Decompositions known to be good and bad, on rendered scenes, all judged by their labels alone.

models/README.md has the figures of more of them, and of networks.
"""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from slotcli.evaluation.audit import audit_labels
from slotcli.evaluation.baselines import BASELINES, kmeans_colour, kmeans_colour_position
from slotcli.evaluation.figures import FIGURES
from slotcli.evaluation.picture_figures import picture_figures
from slotcli.evaluation.verdict import CRITERIA, Verdict, judge
from slotcli.scenes import render_clip

pytestmark = pytest.mark.slow

SLOTS, CLIPS, FRAMES, SIZE = 8, 3, 6, 64
SEED = 1_400_000_000

Labels = np.ndarray
Make = Callable[[Tensor, Labels], Labels]


@pytest.fixture(scope="module")
def scenes() -> tuple[Tensor, Labels]:
    """Three clips of tier C with their true labels."""
    clips = [render_clip(SEED + i, "C", FRAMES, (SIZE, SIZE)) for i in range(CLIPS)]
    labels = [clip.labels.numpy() for clip in clips if clip.labels is not None]
    return torch.stack([clip.frames for clip in clips]), np.stack(labels)


def _verdict(frames: Tensor, labels: Labels) -> Verdict:
    found = picture_figures(zip(frames, labels, strict=True))
    return audit_labels(labels, int(labels.max()) + 1).with_pictures(found).verdict()


def _noisy(labels: Labels, radius: float) -> Labels:
    """Every pixel takes the label of one `radius` pixels away, smoothly so."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    found = np.empty_like(labels)
    for place in np.ndindex(labels.shape[:2]):
        moved = [cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE)), (0, 0), 1.0) for _ in "yx"]
        y, x = (radius * field / field.std() for field in moved)
        found[place] = labels[place][
            np.rint(rows + y).astype(int).clip(0, SIZE - 1),
            np.rint(columns + x).astype(int).clip(0, SIZE - 1),
        ]
    return found


def _scattered(labels: Labels) -> Labels:
    """Every pixel takes the label of a random pixel next to it, or its own."""
    rng = np.random.default_rng(1)
    choice = rng.integers(5, size=labels.shape)
    shifted = [labels] + [np.roll(labels, by, axis) for axis in (2, 3) for by in (-1, 1)]
    return np.choose(choice, shifted).astype(np.uint8)


def _merged(labels: Labels) -> Labels:
    """Two objects share a slot, one is background, and the background is two slots."""
    found = _noisy(labels, 1.0)
    for clip in found:
        objects = [label for label in np.unique(clip) if label]
        clip[clip == objects[-1]] = objects[0]
        clip[clip == objects[1]] = 0
        left = np.broadcast_to(np.arange(SIZE) < SIZE // 2, clip.shape)
        clip[(clip == 0) & left] = 20
    return found


def _shuffled(labels: Labels) -> Labels:
    rng = np.random.default_rng(2)
    found = np.empty_like(labels)
    for place in np.ndindex(labels.shape[:2]):
        found[place] = rng.permutation(16).astype(np.uint8)[labels[place]]
    return found


def _baseline(name: str) -> Make:
    return lambda frames, _: np.stack([BASELINES[name](clip, SLOTS, 7) for clip in frames])


def _each_frame(frames: Tensor) -> Labels:
    return np.stack(
        [
            np.concatenate([kmeans_colour(clip[t : t + 1], SLOTS, t) for t in range(FRAMES)])
            for clip in frames
        ]
    )


def _smooth_noise(labels: Labels) -> Labels:
    rng = np.random.default_rng(3)
    found = np.empty_like(labels)
    for place in np.ndindex(labels.shape[:2]):
        fields = [cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE)), (0, 0), 5) for _ in range(SLOTS)]
        found[place] = np.argmax(fields, axis=0)
    return found


GOOD: dict[str, Make] = {
    "true masks": lambda _, truth: truth,
    "true masks, borders 1 px off": lambda _, truth: _noisy(truth, 1.0),
    "true masks, borders 2 px off": lambda _, truth: _noisy(truth, 2.0),
    "true masks, borders scattered": lambda _, truth: _scattered(truth),
    "objects merged and missed": lambda _, truth: _merged(truth),
}
BAD: dict[str, Make] = {
    **{name: _baseline(name) for name in BASELINES},
    "k-means colour, each frame": lambda frames, _: _each_frame(frames),
    "k-means colour, 4 clusters": lambda frames, _: np.stack(
        [kmeans_colour(clip, 4, 1) for clip in frames]
    ),
    "k-means colour+place, 5 clusters": lambda frames, _: np.stack(
        [kmeans_colour_position(clip, 5, 1) for clip in frames]
    ),
    "brightness": lambda frames, _: (frames.float().mean(2) // 32).byte().numpy(),
    "slots shuffled over time": lambda _, truth: _shuffled(truth),
    "first frame kept": lambda _, truth: np.repeat(truth[:, :1], FRAMES, axis=1),
    "masks of another clip": lambda _, truth: np.roll(truth, 1, axis=0),
    "noise": lambda _, truth: (
        np.random.default_rng(4).integers(SLOTS, size=truth.shape).astype(np.uint8)
    ),
    "smooth noise": lambda _, truth: _smooth_noise(truth),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_known_to_be_good_passes(scenes: tuple[Tensor, Labels], name: str) -> None:
    verdict = _verdict(scenes[0], GOOD[name](*scenes))
    assert verdict.passed is True, verdict.sentence
    assert verdict.sentence.startswith("Passed: ")


@pytest.mark.parametrize("name", BAD)
def test_what_is_known_to_be_bad_fails(scenes: tuple[Tensor, Labels], name: str) -> None:
    verdict = _verdict(scenes[0], BAD[name](*scenes))
    assert verdict.passed is False, verdict.sentence
    assert verdict.sentence.startswith("Not passed: ")


def test_clips_in_which_nothing_moves_are_not_judged(scenes: tuple[Tensor, Labels]) -> None:
    frames, truth = scenes
    still = frames[:, :1].expand_as(frames).contiguous()
    verdict = _verdict(still, np.repeat(truth[:, :1], FRAMES, axis=1))
    assert (verdict.passed, verdict.checks["follows_motion"]) == (None, None)
    assert verdict.sentence == "Not judged: follows motion could not be measured."


GOOD_FIGURES = {
    "used_slots": 5.0,
    "follows_motion": 0.9,
    "edges_over_kmeans": 0.9,
    "beyond_kmeans": 2.5,
    "together": 2.7,
    "connected": 0.9,
}


def test_one_sentence_says_what_failed_and_what_was_not_measured() -> None:
    assert judge(GOOD_FIGURES, clips=8).sentence.endswith(
        "Not measured: position determinism, shift equivariance, slot information."
    )
    for name, criterion in CRITERIA.items():
        figure = FIGURES[name]
        worst = 1.0 if figure.better == "<" else 0.0
        failed = judge({**GOOD_FIGURES, name: worst}, clips=8)
        assert failed.passed is False
        assert criterion.fault in failed.sentence
        assert figure.title in failed.sentence
        unknown = judge({**GOOD_FIGURES, name: None}, clips=8)
        assert unknown.passed is (None if criterion.required else True)
        assert figure.title in unknown.sentence


def test_a_trivial_decomposition_ahead_of_it_costs_the_pass() -> None:
    assert judge(GOOD_FIGURES, {"FG-ARI": [], "mIoU": []}, clips=8).passed
    beaten = judge(GOOD_FIGURES, {"FG-ARI": [], "mIoU": ["k-means colour"]}, clips=8)
    assert beaten.passed is False
    assert beaten.sentence == (
        "Not passed: against true masks trivial decompositions are no worse (mIoU: k-means colour)."
    )
    assert beaten.as_dict()["trivial_ahead"] == {"mIoU": ["k-means colour"]}


def test_a_few_clips_have_to_pass_by_more() -> None:
    """Colour bars of a test picture passed by 3 % on a single clip."""
    barely = {**GOOD_FIGURES, "together": 1.03 * FIGURES["together"].limit}
    assert judge(barely, clips=8).passed
    verdict = judge(barely, clips=1)
    assert verdict.passed is None
    assert "1 clip is too few" in verdict.sentence
    assert judge(GOOD_FIGURES, clips=1).passed
