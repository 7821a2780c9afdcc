import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from slotcli.build import build_model
from slotcli.decoders.base import RenderOptions
from slotcli.errors import DataError, NumericError
from slotcli.evaluation.slot_information import slot_information
from slotcli.model import SlotModel, normalise
from slotcli.spec import SlotModelSpec

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


class FromFirstSlot(nn.Module):
    """Draws each frame in one shade: its first slot's first number, plus seeded noise."""

    draws = True

    @property
    def networks(self) -> list[nn.Module]:
        return []

    def target(self, frames: Tensor) -> Tensor:
        return frames

    def loss(self, slots: Tensor, target: Tensor, seen: object = None) -> Tensor:
        drawn = slots[:, :1, :1, None] + torch.randn(len(slots), 1, 1, 1)
        return mse_loss(drawn.expand_as(target), target)

    def render(self, slots: Tensor, drawing: RenderOptions, seen: object = None) -> Tensor:
        raise NotImplementedError

    def soft_masks(self, slots: Tensor, attention: Tensor) -> Tensor:
        return attention


def pictures(clips: int, t: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (clips, t, 3, 32, 32), dtype=torch.uint8, generator=generator)


def untrained(spec: SlotModelSpec) -> SlotModel:
    torch.manual_seed(0)
    model = build_model(spec).eval()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return model


def test_it_is_what_a_plain_loop_over_frames_finds(tiny_slot_spec: SlotModelSpec) -> None:
    model = SlotModel(untrained(tiny_slot_spec).encoder, FromFirstSlot(), (32, 32))
    frames = pictures(3)
    slots = model.encode(frames).slots
    # Six frames are decoded at once, from the first seed on.
    torch.manual_seed(0)
    noise = torch.randn(6, 1, 1, 1)
    losses = []
    for chosen in (slots, slots[[2, 0, 1]]):
        drawn = chosen.flatten(0, 1)[:, :1, :1, None] + noise
        error = (drawn.double() - normalise(frames).flatten(0, 1).double()).square()
        losses.append(error.mean().item())
    found = slot_information(model, frames, CPU)
    assert (found.own_loss, found.other_loss) == pytest.approx(losses, rel=1e-5)
    assert found.difference == pytest.approx(losses[1] - losses[0], rel=1e-4)


def test_it_is_the_decoders_own_loss_under_one_seed(system_spec: SlotModelSpec) -> None:
    model, frames = untrained(system_spec), pictures(3)
    slots = model.encode(frames).slots
    target = model.decoder.target(normalise(frames).flatten(0, 1))
    losses = []
    for chosen in (slots, slots[[2, 0, 1]]):
        torch.manual_seed(0)
        with torch.inference_mode():
            losses.append(model.decoder.loss(chosen.flatten(0, 1), target).item())
    found = slot_information(model, frames, CPU)
    assert (found.own_loss, found.other_loss) == pytest.approx(losses, rel=1e-5)


def test_slots_that_are_all_alike_carry_exactly_nothing(system_spec: SlotModelSpec) -> None:
    model = untrained(system_spec)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.zero_()
    found = slot_information(model, pictures(3), CPU)
    assert found.difference == 0
    assert found.own_loss > 0


def test_a_decoder_that_ignores_slots_has_none_of_any_clip(tiny_slot_spec: SlotModelSpec) -> None:
    class Blind(FromFirstSlot):
        def loss(self, slots: Tensor, target: Tensor, seen: object = None) -> Tensor:
            return super().loss(torch.zeros_like(slots), target)

    model = SlotModel(untrained(tiny_slot_spec).encoder, Blind(), (32, 32))
    assert slot_information(model, pictures(3), CPU).difference == 0


def test_a_decoder_fitted_to_its_clips_errs_with_the_slots_of_others(
    tiny_slot_spec: SlotModelSpec,
) -> None:
    """Fitted exactly, it draws with other slots the other clip: the clips' distance is the loss."""
    encoder = untrained(tiny_slot_spec).encoder
    frames = pictures(4)
    slots = SlotModel(encoder, FromFirstSlot(), (32, 32)).encode(frames).slots.flatten(0, 1)
    shades = normalise(frames).flatten(0, 1).mean((1, 2, 3), dtype=torch.float64)[:, None]
    weights = torch.linalg.pinv(slots.flatten(1).double()) @ shades

    class Fitted(FromFirstSlot):
        def target(self, frames: Tensor) -> Tensor:
            return frames.mean((1, 2, 3), dtype=torch.float64)[:, None]

        def loss(self, slots: Tensor, target: Tensor, seen: object = None) -> Tensor:
            return mse_loss(slots.flatten(1).double() @ weights, target)

    found = slot_information(SlotModel(encoder, Fitted(), (32, 32)), frames, CPU)
    by_clip = shades.unflatten(0, (4, 2))
    apart = (by_clip - by_clip[[3, 0, 1, 2]]).square().mean().item()
    assert found.own_loss < 1e-6 * apart
    assert found.difference == pytest.approx(apart, rel=1e-3)


def test_the_callers_random_state_stays(tiny_slot_spec: SlotModelSpec) -> None:
    model = untrained(tiny_slot_spec)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = slot_information(model, pictures(2), CPU)
    assert torch.equal(torch.rand(3), expected)
    assert slot_information(model, pictures(2), CPU) == first


def test_what_has_no_answer_is_refused(tiny_slot_spec: SlotModelSpec) -> None:
    model = untrained(tiny_slot_spec)
    with pytest.raises(DataError, match="1 clip"):
        slot_information(model, pictures(1), CPU)

    class Broken(FromFirstSlot):
        def loss(self, slots: Tensor, target: Tensor, seen: object = None) -> Tensor:
            return super().loss(slots, target) * float("nan")

    broken = SlotModel(model.encoder, Broken(), (32, 32))
    with pytest.raises(NumericError, match="loss is not finite"):
        slot_information(broken, pictures(2), CPU)
