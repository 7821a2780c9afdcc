"""What holds for all five systems: slots are a set, masks share a place, an image is a clip."""

import pytest
import torch
from torch import Tensor, nn

from slotcli.build import build_model
from slotcli.decoders.base import RenderOptions
from slotcli.model import SlotModel
from slotcli.spec import SlotModelSpec
from slotcli.types import SlotTrack

pytestmark = pytest.mark.slow

_ORDER = [2, 0, 1]


@pytest.fixture
def model(system_spec: SlotModelSpec) -> SlotModel:
    """Untrained, but with random weights where layers start at zero and hide all others."""
    torch.manual_seed(0)
    model = build_model(system_spec).eval()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return model


@pytest.fixture
def frames() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (2, 3, 3, 32, 32), dtype=torch.uint8, generator=generator)


def draw(model: SlotModel, track: SlotTrack) -> Tensor:
    return model.decoder.render(track.slots.flatten(0, 1), RenderOptions("multistep", 3))


def test_slots_are_a_set(model: SlotModel, frames: Tensor) -> None:
    """Slots that start in another order stay in that order, and draw the same picture."""
    track = model.encode(frames)
    masks, drawn = model.soft_masks(track), draw(model, track)
    with torch.no_grad():
        model.encoder.initial_slots.copy_(model.encoder.initial_slots[:, _ORDER].clone())
    moved = model.encode(frames)
    torch.testing.assert_close(moved.slots, track.slots[:, :, _ORDER], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.soft_masks(moved), masks[:, :, _ORDER], atol=1e-4, rtol=1e-4)
    # A token or a code may fall the other way by rounding; the picture is the same but for that.
    assert ((draw(model, moved) - drawn).abs() < 1e-3).float().mean() > 0.99


def test_masks_share_every_place(model: SlotModel, frames: Tensor) -> None:
    masks = model.soft_masks(model.encode(frames))
    assert masks.shape[:3] == (2, 3, 3)
    assert masks.min() >= 0
    torch.testing.assert_close(masks.sum(2), torch.ones_like(masks[:, :, 0]))
    assert masks.std(dim=(-2, -1)).max() > 0


def test_an_image_is_a_clip_of_one_frame(model: SlotModel, frames: Tensor) -> None:
    clip, image = model.encode(frames), model.encode(frames[:, :1])
    torch.testing.assert_close(image.slots, clip.slots[:, :1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(image.attention, clip.attention[:, :1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        model.soft_masks(image), model.soft_masks(clip)[:, :1], atol=1e-5, rtol=1e-5
    )


def test_a_clip_in_chunks_is_the_clip(model: SlotModel, frames: Tensor) -> None:
    whole = model.encode(frames)
    rest = model.encode(frames[:, 2:], model.encode(frames[:, :2]).slots[:, -1])
    torch.testing.assert_close(rest.slots, whole.slots[:, 2:], atol=1e-5, rtol=1e-5)


def test_pictures_are_drawn_from_slots_in_range(model: SlotModel, frames: Tensor) -> None:
    drawn = draw(model, model.encode(frames))
    assert drawn.shape == (6, 3, 32, 32)
    assert drawn.abs().max() <= 1
    other = model.decoder.render(torch.randn(6, 3, 16) * 10, RenderOptions("multistep", 3))
    assert (drawn - other).abs().max() > 1e-2


def test_the_loss_reaches_all_but_the_codec(model: SlotModel, frames: Tensor) -> None:
    model.train()
    normal = frames.float() / 127.5 - 1
    slots = model.encoder(normal).slots.flatten(0, 1)
    model.decoder.loss(slots, model.decoder.target(normal.flatten(0, 1))).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert all(name.startswith("decoder.codec.") for name in idle)
    assert all(not model.get_parameter(name).requires_grad for name in idle)
