"""The laws the bodies keep."""

import math

import pytest
import torch

from slotcli.scenes.physics import GRAVITY, World, rotation_matrices, simulate
from slotcli.scenes.scene import draw_scene, gather_bodies
from slotcli.scenes.tiers import TIERS

pytestmark = pytest.mark.slow

STEP = 1 / 120


def _world(tier="C", seeds=(0, 1, 2), places=None):
    scenes = [draw_scene(seed, tier, TIERS[tier]) for seed in seeds]
    return World(gather_bodies(scenes, places or TIERS[tier].objects[1]))


def _energy(world):
    """Of each body per mass, kinetic and potential."""
    rotation = rotation_matrices(world.quaternion)
    local_spin = (rotation * world.spin[:, :, None]).sum(1)
    turning = (local_spin**2 / world.inverse_gyration).sum(-1)
    moving = (world.velocity**2).sum(-1)
    return (turning + moving) / 2 + GRAVITY * world.position[:, 2]


def _alone(tier, seed):
    """A world with one body of each scene's, too far apart to meet."""
    world = _world(tier, seeds=(seed,))
    world.position[:, 0] += 100 * torch.arange(len(world.position))
    return world


@pytest.mark.parametrize("tier", ["C", "unseen-shapes", "crowd"])
def test_nothing_sinks_into_the_ground(tier):
    scenes = [draw_scene(seed, tier, TIERS[tier]) for seed in range(3)]
    positions, quaternions = simulate(gather_bodies(scenes, TIERS[tier].objects[1]), 16)
    rotation = rotation_matrices(quaternions)
    turns = torch.arange(48) * (math.tau / 48)
    rim = torch.stack((turns.cos(), turns.sin(), torch.zeros(48)), -1).double()
    for b, scene in enumerate(scenes):
        for k, thing in enumerate(scene.things):
            discs = torch.tensor(thing.hull.discs, dtype=torch.float64)
            points = (discs[:, None, :3] + discs[:, None, 3:] * rim).flatten(0, 1)
            up = rotation[b, :, k, 2]
            swell = (up * torch.tensor(thing.hull.thickness)).square().sum(-1).sqrt()
            lowest = positions[b, :, k, 2] + (up @ points.T).amin(-1) - swell
            assert lowest.min() > -0.01


@pytest.mark.parametrize("tier", ["C", "unseen-shapes"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_lone_body_never_gains_energy(tier, seed):
    world = _alone(tier, seed)
    start = _energy(world)
    highest = start.clone()
    for _ in range(240):
        world.step(STEP)
        highest = torch.maximum(highest, _energy(world))
    # A body turned into the ground is lifted out of it, by less than a centimetre a time.
    assert (highest <= start * 1.01 + 0.1).all()


def test_a_crowd_loses_energy():
    world = _world("crowd", seeds=(0, 1))
    start = (_energy(world) / world.inverse_mass).sum()
    for _ in range(360):
        world.step(STEP)
    assert (_energy(world) / world.inverse_mass).sum() < start


def test_two_bodies_that_collide_in_the_air_conserve_momentum():
    world = _world("A", seeds=(0,), places=6)
    world.position[:, 2] = 1e3
    world.position[:, 0] = 100.0 * torch.arange(6)
    world.position[1] = world.position[0] + torch.tensor([2.5, 0.3, 0.2])
    world.velocity.zero_()
    world.velocity[0, 0], world.velocity[1, 0] = 4.0, -1.0
    before = (world.velocity / world.inverse_mass[:, None])[:2].sum(0)
    for _ in range(60):
        world.step(STEP)
    after = (world.velocity / world.inverse_mass[:, None])[:2].sum(0)
    assert world.velocity[0, 0] < 3.9
    torch.testing.assert_close(after[:2], before[:2])


def test_a_flying_body_follows_the_parabola():
    world = _alone("A", 1)
    world.position[:, 2] = 1e3
    start, velocity = world.position.clone(), world.velocity.clone()
    for _ in range(60):
        world.step(STEP)
    expected = start + 0.5 * velocity
    expected[:, 2] -= GRAVITY * 0.5**2 / 2
    torch.testing.assert_close(world.position, expected, atol=0.03, rtol=0)


def test_rotations_are_orthonormal():
    quaternion = torch.nn.functional.normalize(torch.randn(5, 4, dtype=torch.float64), dim=-1)
    rotation = rotation_matrices(quaternion)
    unit = torch.eye(3, dtype=torch.float64).expand(5, 3, 3)
    torch.testing.assert_close(rotation @ rotation.mT, unit)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(5, dtype=torch.float64))
