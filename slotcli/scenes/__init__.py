"""Synthetic clips with ground truth labels: textured solids that fall, roll and collide."""

from collections.abc import Callable, Sequence

import torch

from slotcli.errors import UsageError
from slotcli.scenes.physics import FRAMES_PER_SECOND, rotation_matrices, simulate
from slotcli.scenes.render import render
from slotcli.scenes.scene import draw_scene, gather_bodies
from slotcli.scenes.tiers import TIERS, Tier
from slotcli.types import Clip, ClipBatch, Size

__all__ = ["TIERS", "Rendered", "Tier", "render_clip", "render_clips"]

# Called with the number of rendered clips, and their total.
Rendered = Callable[[int, int], None]


def render_clip(
    seed: int, tier: str, length: int, size: Size, device: str | torch.device = "cpu"
) -> Clip:
    """The clip of one seed: 12 frames per second, u8 frames and labels on `device`.

    Labels: 0 is background; 1.. are instances by total visible area, largest first; objects that
    are never visible have no label. Raises UsageError for an unknown tier.
    """
    batch = render_clips([seed], tier, length, size, device)
    assert batch.labels is not None
    return Clip(batch.frames[0], batch.labels[0])


def render_clips(
    seeds: Sequence[int],
    tier: str,
    length: int,
    size: Size,
    device: str | torch.device = "cpu",
    rendered: Rendered | None = None,
) -> ClipBatch:
    """The clips of several seeds; each equals that of render_clip, whatever the other seeds.

    Raises UsageError for an unknown tier.
    """
    if tier not in TIERS:
        raise UsageError(f"there is no scene tier '{tier}'", f"choose one of {', '.join(TIERS)}")
    scenes = [draw_scene(seed, tier, TIERS[tier]) for seed in seeds]
    bodies = gather_bodies(scenes, TIERS[tier].objects[1])
    if TIERS[tier].resting == 1:
        position = bodies.position[:, None].expand(-1, length, -1, -1)
        quaternion = bodies.quaternion[:, None].expand(-1, length, -1, -1)
    else:
        position, quaternion = simulate(bodies, length)
    rotation = rotation_matrices(quaternion).float()
    seconds = torch.arange(length) / FRAMES_PER_SECOND
    clips: list[Clip] = []
    for i, scene in enumerate(scenes):
        clips.append(
            render(
                scene,
                position[i, :, : len(scene.things)].float(),
                rotation[i, :, : len(scene.things)],
                seconds,
                size,
                torch.device(device),
            )
        )
        if rendered is not None:
            rendered(len(clips), len(scenes))
    return ClipBatch(
        torch.stack([clip.frames for clip in clips]),
        torch.stack([clip.labels for clip in clips if clip.labels is not None]),
    )
