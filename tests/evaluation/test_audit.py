import json

import numpy as np
import pytest
import torch
from torch import Tensor

from slotcli.errors import DataError
from slotcli.evaluation.audit import SlotInformation, audit, audit_labels, degeneration_score
from slotcli.evaluation.baselines import Baseline, stripes
from slotcli.evaluation.label_free import Segment

NUM_SLOTS = 7


def everywhere(baseline: Baseline) -> Segment:
    return lambda frames: np.stack([baseline(clip, NUM_SLOTS, 0) for clip in frames])


def bright(frames: Tensor) -> np.ndarray:
    """A segmenter that sees nothing but the colour of a pixel."""
    return (frames[:, :, 0] > 128).numpy().astype(np.uint8)


def test_degeneration_is_the_worse_of_two_and_one_where_slots_collapse() -> None:
    assert degeneration_score(0.2, 0.7, 5.0) == pytest.approx(0.3)
    assert degeneration_score(0.6, 0.7, 5.0) == 0.6
    assert degeneration_score(0.0, 1.0, 1.9) == 1


def test_audit_tells_what_follows_from_what_cuts(discs) -> None:
    frames, truth = discs(8, t=3, radius=9)
    moving = iter((truth, truth, truth))
    sees = audit(lambda _: next(moving), frames, NUM_SLOTS, shift=12)
    cuts = audit(everywhere(stripes), frames, NUM_SLOTS, shift=12)
    colours = audit(bright, frames, NUM_SLOTS, shift=12)
    assert sees.follows_motion > 0.8
    assert sees.edges_over_kmeans > 0.8
    assert colours.beyond_kmeans < 1.25
    assert (colours.passed, cuts.passed) == (False, False)
    assert cuts.degeneration == 1
    assert cuts.follows_motion == 0
    assert json.loads(json.dumps(sees.as_dict()))["degeneration"] == sees.degeneration


def test_labels_alone_give_the_numbers_that_the_model_gives_on_them(discs) -> None:
    frames, _ = discs(8, t=3)
    whole = audit(bright, frames, NUM_SLOTS, shift=12).as_dict()
    alone = audit_labels(bright(frames), NUM_SLOTS).as_dict()
    need_more = {"shift_equivariance", "edge_alignment", "degeneration"}
    need_more |= {"follows_motion", "edges_over_kmeans", "beyond_kmeans", "together", "connected"}
    changed = {"edge_clips", "reasons"}
    assert {name for name, value in alone.items() if value != whole[name]} == need_more | changed
    assert all(alone[name] is None for name in need_more)


def test_every_null_has_its_reason_and_nothing_else_has_one(discs) -> None:
    frames, truth = discs(2, t=1)
    one_slot = torch.zeros_like(frames).amax(2).numpy()
    for scores in (
        audit(bright, frames, NUM_SLOTS, shift=12),
        audit_labels(truth, NUM_SLOTS),
        audit_labels(truth[:1], NUM_SLOTS),
        audit(lambda _: one_slot, frames, 1, shift=12, information=SlotInformation(0.0, 1.0)),
    ):
        values = scores.as_dict()
        assert {name for name, value in values.items() if value is None} == set(scores.reasons)


def test_open_checks_never_make_a_pass(discs) -> None:
    frames, truth = discs(16, t=3, radius=9)
    sees, cuts = (
        audit_labels(bright(frames), NUM_SLOTS),
        audit_labels(everywhere(stripes)(frames), NUM_SLOTS),
    )
    assert (sees.passed, sees.verdict().checks["shift_equivariance"]) == (None, None)
    assert (cuts.passed, cuts.verdict().checks["position_determinism"]) == (False, False)
    alone = audit_labels(truth[:1], NUM_SLOTS)
    assert (alone.passed, alone.position_determinism, alone.degeneration) == (None, None, None)
    assert audit_labels(np.zeros_like(truth[:1]), NUM_SLOTS).passed is False


def test_slot_information_is_a_difference_and_its_share_of_the_own_loss(discs) -> None:
    information = SlotInformation(own_loss=0.5, other_loss=0.75)
    scores = audit(bright, discs(2, t=1)[0], NUM_SLOTS, shift=12, information=information)
    assert (scores.slot_information, scores.slot_information_ratio) == (0.25, 0.5)
    assert SlotInformation(0.0, 1.0).ratio is None


def test_one_clip_is_not_an_audit(discs) -> None:
    with pytest.raises(DataError, match="1 clip"):
        audit(bright, discs(1, t=2)[0], NUM_SLOTS, shift=12)
