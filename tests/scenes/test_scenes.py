"""Clips as a whole: the same for the same seed, labelled in order, each tier as promised."""

import pytest
import torch

from slotcli.errors import UsageError
from slotcli.scenes import TIERS, render_clip, render_clips
from slotcli.scenes.camera import rays
from slotcli.scenes.scene import draw_scene

pytestmark = pytest.mark.slow

TRAINING = ("A", "C", "E")


@pytest.mark.parametrize("tier", ["C", "E"])
def test_a_clip_does_not_depend_on_what_is_rendered_beside_it(tier):
    seeds = [11, 3, 7, 20, 5]
    batch = render_clips(seeds, tier, 5, (16, 24))
    assert batch.labels is not None
    for i in (0, 2, 4):
        clip = render_clip(seeds[i], tier, 5, (16, 24))
        assert clip.labels is not None
        assert torch.equal(clip.frames, batch.frames[i])
        assert torch.equal(clip.labels, batch.labels[i])


def test_seeds_and_tiers_give_different_clips():
    a, b = (render_clip(seed, "C", 1, (16, 16)).frames for seed in (0, 1))
    other_tier = render_clip(0, "crowd", 1, (16, 16)).frames
    assert not torch.equal(a, b)
    assert not torch.equal(a, other_tier)


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_labels_are_contiguous_and_sorted_by_area(tier):
    clips = render_clips(range(3), tier, 3, (24, 20))
    assert clips.labels is not None
    assert clips.frames.shape == (3, 3, 3, 24, 20)
    for labels in clips.labels:
        areas = torch.bincount(labels.flatten().long())[1:]
        assert (areas > 0).all()
        assert (areas[:-1] >= areas[1:]).all()
        assert len(areas) <= TIERS[tier].objects[1]


@pytest.mark.parametrize("name", sorted(TIERS))
def test_scenes_keep_to_their_tier(name):
    tier = TIERS[name]
    scenes = [draw_scene(seed, name, tier) for seed in range(8)]
    for scene in scenes:
        assert tier.objects[0] <= len(scene.things) <= tier.objects[1]
        assert {thing.shape for thing in scene.things} <= set(tier.shapes)
        assert {thing.pattern for thing in scene.things} <= set(tier.patterns)
        assert (scene.camera.speed > 0) == (tier.camera_speed[1] > 0)
        moving = [any(thing.velocity) for thing in scene.things]
        assert tier.resting < 1 or not any(moving)
    assert len({len(scene.things) for scene in scenes}) > 1


def test_held_out_tiers_share_no_family_with_training():
    seen = [TIERS[name] for name in TRAINING]
    for tier in seen:
        assert not set(TIERS["unseen-shapes"].shapes) & set(tier.shapes)
        assert not set(TIERS["unseen-textures"].patterns) & set(tier.patterns)
        assert not set(TIERS["unseen-textures"].grounds) & set(tier.grounds)


def test_most_objects_of_tier_c_are_set_in_motion():
    scenes = [draw_scene(seed, "C", TIERS["C"]) for seed in range(20)]
    moving = [any(thing.velocity) for scene in scenes for thing in scene.things]
    assert sum(moving) / len(moving) >= 0.7


def test_nothing_changes_in_the_static_tier():
    clip = render_clip(4, "static", 4, (20, 20))
    assert clip.labels is not None
    assert (clip.frames == clip.frames[:1]).all()
    assert (clip.labels == clip.labels[:1]).all()


def test_only_tier_e_moves_its_camera_and_slowly():
    seconds = torch.arange(48) / 12
    still = draw_scene(2, "C", TIERS["C"]).camera.positions(seconds)
    moving = draw_scene(2, "E", TIERS["E"]).camera.positions(seconds)
    assert (still == still[0]).all()
    speed = (moving[1:] - moving[:-1]).norm(dim=-1) * 12
    assert 0 < speed.max() <= TIERS["E"].camera_speed[1] + 1e-3


def test_the_camera_looks_at_the_origin_with_the_world_upright():
    camera = draw_scene(9, "C", TIERS["C"]).camera
    seen = camera.point_seen_at(0.3, 0.2, 0.4)
    assert seen is not None
    way = torch.tensor(seen) - torch.tensor(camera.start)
    directions = rays(torch.tensor([camera.start]), (20, 20))[0, :, 4]
    nearest = (way @ directions.flatten(1)).argmax()
    # 0.3 of half a picture of 20 pixels right of the middle is the pixel 13, 0.2 below it row 12.
    assert divmod(nearest.item(), 20) in {(r, c) for r in (11, 12) for c in (12, 13)}
    assert directions[2, 0].mean() > directions[2, -1].mean()


def test_an_unknown_tier_is_named_in_the_error():
    with pytest.raises(UsageError, match="'Z'"):
        render_clip(0, "Z", 1, (8, 8))
