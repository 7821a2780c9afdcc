"""Motion before a camera at rest, and slots that part what moves."""

import pytest
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import one_hot

from slotcli.training.auxiliary.grouping import motion_grouping_loss
from slotcli.training.auxiliary.motion import motion

SIDE, LENGTH, BLOCK = 48, 8, 8


def _ground() -> UInt8[Tensor, "3 h w"]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(90, 160, (3, SIDE, SIDE), generator=generator, dtype=torch.uint8)


def _two_of_a_colour() -> tuple[UInt8[Tensor, "t 3 h w"], UInt8[Tensor, "t h w"]]:
    """Two equal blocks that cross a textured ground, and their true labels."""
    frames = _ground().repeat(LENGTH, 1, 1, 1)
    labels = torch.zeros(LENGTH, SIDE, SIDE, dtype=torch.uint8)
    for t in range(LENGTH):
        for label, top, left in ((1, 4, 4 + 4 * t), (2, 34, 36 - 4 * t)):
            place = (slice(top, top + BLOCK), slice(left, left + BLOCK))
            frames[t, :, *place] = torch.tensor([250, 20, 20], dtype=torch.uint8)[:, None, None]
            labels[t, *place] = label
    return frames, labels


def test_what_moves_is_found_and_nothing_else() -> None:
    frames, labels = _two_of_a_colour()
    moving = motion(frames)
    assert moving.shape == labels.shape
    assert moving[labels > 0].min() > 0.9
    assert moving[labels == 0].max() == 0


def test_a_shadow_that_moves_is_no_thing() -> None:
    frames = _ground().repeat(LENGTH, 1, 1, 1)
    for t in range(LENGTH):
        shadow = (slice(10, 10 + BLOCK), slice(4 * t, 4 * t + BLOCK))
        frames[t, :, *shadow] = (0.5 * frames[t, :, *shadow]).round().byte()
    # Rounding of dark colours is all that is left.
    assert motion(frames).max() < 0.1


def test_nothing_moves_in_a_still_clip() -> None:
    assert motion(_ground().repeat(LENGTH, 1, 1, 1)).max() == 0


def test_noise_of_a_camera_is_no_motion() -> None:
    generator = torch.Generator().manual_seed(1)
    clip = _ground().repeat(LENGTH, 1, 1, 1).float()
    noisy = (clip + 2 * torch.randn(clip.shape, generator=generator)).round().byte()
    # A few pixels are far from the median at times, as any tail is.
    assert motion(noisy).mean() < 0.01


def test_a_moving_camera_tells_nothing() -> None:
    frames = torch.stack([_ground().roll(3 * t, dims=-1) for t in range(LENGTH)])
    assert motion(frames).max() == 0


def test_is_mirrored_with_the_clip() -> None:
    frames, _ = _two_of_a_colour()
    torch.testing.assert_close(motion(frames.flip(-1)), motion(frames).flip(-1))


@pytest.mark.parametrize(
    "rival", ["one slot", "stripes", "both blocks in one", "changing hands", "ground in two"]
)
def test_slots_that_part_two_equal_moving_blocks_pay_least(rival: str) -> None:
    frames, labels = _two_of_a_colour()
    frames, labels = frames[3:6], labels[3:6]
    others = {
        "one slot": torch.zeros_like(labels),
        "stripes": (torch.arange(SIDE) * 3 // SIDE).expand_as(labels),
        "both blocks in one": labels.clamp(max=1),
        "changing hands": torch.cat([labels[:1], labels[1:].flip(1)]),
        "ground in two": labels + 3 * ((labels == 0) & (torch.arange(SIDE) < SIDE // 2)),
    }
    moving = motion(_two_of_a_colour()[0])[3:6]
    normal = frames[None].float() / 127.5 - 1
    paid = {
        name: motion_grouping_loss(_as_attention(each), normal, moving[None]).item()
        for name, each in {"true": labels, rival: others[rival]}.items()
    }
    assert paid["true"] < 0.9 * paid[rival]


def test_a_ground_in_two_slots_costs_less_at_a_low_background_weight() -> None:
    frames, labels = _two_of_a_colour()
    parted = labels + 3 * ((labels == 0) & (torch.arange(SIDE) < SIDE // 2))
    moving, normal = motion(frames)[None], frames[None].float() / 127.5 - 1
    paid = [
        motion_grouping_loss(_as_attention(parted), normal, moving, weight).item()
        for weight in (0.0, 0.5, 1.0)
    ]
    assert paid[0] < paid[1] < paid[2]
    assert paid[1] == pytest.approx((paid[0] + paid[2]) / 2)


def _as_attention(labels: Tensor) -> Tensor:
    return one_hot(labels.long(), 4).permute(0, 3, 1, 2)[None].float()
