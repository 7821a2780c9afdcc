"""Rays, shapes and pictures against independent arithmetic."""

import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch

from slotcli.scenes.camera import FIELD_OF_VIEW
from slotcli.scenes.render import number_by_area, render
from slotcli.scenes.scene import draw_scene
from slotcli.scenes.shapes import SHAPES
from slotcli.scenes.tiers import TIERS

CONVEX = sorted(set(SHAPES) - {"torus"})


def _balls(count, seed=5, tier="A"):
    """A scene of balls at chosen places: scene, centres, radii."""
    scene = draw_scene(seed, tier, TIERS[tier])
    rng = Random(seed)
    radii = [rng.uniform(0.4, 1.0) for _ in range(count)]
    centres = [(rng.uniform(-2, 2), rng.uniform(-2, 2), radius + 0.1) for radius in radii]
    things = [
        replace(
            scene.things[0],
            shape="ellipsoid",
            dims=(radius, radius, radius),
            hull=SHAPES["ellipsoid"].hull((radius, radius, radius)),
        )
        for radius in radii
    ]
    return replace(scene, things=things, dice=torch.rand(8, count)), centres, radii


def _render(scene, centres, size):
    position = torch.tensor(centres)[None].float().reshape(1, -1, 3)
    rotation = torch.eye(3).expand(1, len(scene.things), 3, 3)
    return render(scene, position, rotation, torch.zeros(1), size, torch.device("cpu"))


def _nearest_ball(scene, centres, radii, size):
    """Per pixel, in float64: the ball whose surface comes first along the centre's ray, or -1."""
    height, width = size
    eye = np.array(scene.camera.start)
    forward = -eye / np.linalg.norm(eye)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    focal = 0.5 * min(size) / math.tan(FIELD_OF_VIEW / 2)
    owner = np.full(size, -1)
    for row in range(height):
        for column in range(width):
            across = (column + 0.5 - width / 2) / focal
            below = (row + 0.5 - height / 2) / focal
            way = forward + across * right + below * down
            way /= np.linalg.norm(way)
            best = math.inf
            for i, (centre, radius) in enumerate(zip(centres, radii, strict=True)):
                away = eye - np.array(centre)
                b = away @ way
                root = b * b - (away @ away - radius * radius)
                if root >= 0 and 0 < -b - math.sqrt(root) < best:
                    best, owner[row, column] = -b - math.sqrt(root), i
    return owner


def test_labels_match_a_float64_loop_over_pixels():
    size = (22, 30)
    scene, centres, radii = _balls(6)
    owner = torch.from_numpy(_nearest_ball(scene, centres, radii, size))[None]
    clip = _render(scene, centres, size)
    expected = number_by_area(owner, 6)
    assert clip.labels is not None
    assert expected.max() >= 4
    # A ray that grazes a ball may round to either side.
    assert (clip.labels != expected).sum() <= 2


@pytest.mark.parametrize("name", CONVEX)
def test_a_ray_ends_where_the_hull_says_the_surface_is(name):
    """At a point of a convex surface the support function along its normal equals n . p."""
    shape = SHAPES[name]
    dims = shape.draw(Random(3))
    hull = shape.hull(dims)
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand((3, 4000), generator=generator) * 2 - 1) * 0.8
    origin = torch.nn.functional.normalize(torch.randn((3, 4000), generator=generator), dim=0) * 6
    way = torch.nn.functional.normalize(target - origin, dim=0)
    table = torch.tensor(dims)[:, None].expand(3, 4000)
    distance = shape.enter(origin, way, table)
    hit = distance < math.inf
    assert 0.3 < hit.float().mean() < 1
    point = (origin + way * distance)[:, hit]
    normal = torch.nn.functional.normalize(shape.normal(point, table[:, hit]), dim=0)
    assert ((normal * way[:, hit]).sum(0) < 1e-3).float().mean() > 0.99

    discs = torch.tensor(hull.discs)
    reach = discs[:, :3] @ normal + discs[:, 3:] * normal[:2].norm(dim=0)
    support = reach.amax(0) + (torch.tensor(hull.thickness)[:, None] * normal).norm(dim=0)
    off = (support - (normal * point).sum(0)).abs()
    assert (off < 0.02).float().mean() > 0.995
    assert (point.norm(dim=0) <= hull.radius + 0.01).all()


def test_rays_meet_the_torus_on_its_surface():
    shape, dims = SHAPES["torus"], (0.9, 0.35, 0.0)
    generator = torch.Generator().manual_seed(1)
    target = (torch.rand((3, 4000), generator=generator) * 2 - 1) * 0.8
    origin = torch.nn.functional.normalize(torch.randn((3, 4000), generator=generator), dim=0) * 6
    way = torch.nn.functional.normalize(target - origin, dim=0)
    distance = shape.enter(origin, way, torch.tensor(dims)[:, None].expand(3, 4000))
    x, y, z = (origin + way * distance)[:, distance < math.inf].double()
    tube = torch.hypot(torch.hypot(x, y) - dims[0], z)
    assert len(x) > 1000
    assert ((tube - dims[1]).abs() < 0.01).all()


def test_a_body_darkens_the_ground_beside_it():
    scene, centres, _ = _balls(1, tier="A")
    near = _render(scene, centres, (32, 32))
    far = _render(scene, [(0.0, 0.0, 1e4)], (32, 32))
    assert near.labels is not None
    ground = (near.labels == 0)[:, None].expand_as(near.frames)
    change = near.frames.int() - far.frames.int()
    assert change[ground].min() < -15
    assert change[ground].max() <= 1


def test_equal_areas_keep_their_order_and_unseen_solids_have_no_label():
    owner = torch.tensor([[[-1, 2, 2], [0, 3, 3]]])
    assert number_by_area(owner, 4).tolist() == [[[0, 1, 1], [3, 2, 2]]]
