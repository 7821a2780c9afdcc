"""What the U-Net reads of slots: against the definition written out."""

import pytest
import torch

from slotcli.build import build_model
from slotcli.decoders.base import RenderOptions
from slotcli.decoders.condition import Condition, map_channels
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.encoder.appearance import colour_map
from slotcli.spec import SlotModelSpec
from slotcli.types import Layout


def seen_of(frames: int, size: int = 8) -> Layout:
    rng = torch.Generator().manual_seed(3)
    attention = torch.rand(frames, 3, size, size, generator=rng).softmax(1)
    return Layout(attention, torch.randn(frames, 3, 7 + 3, generator=rng))


def test_the_papers_condition_is_the_slots_themselves() -> None:
    condition = Condition(16, (4, 4))
    slots = torch.randn(2, 3, 16)
    assert condition(slots, None) == (slots, [])
    assert not condition.state_dict()


@torch.no_grad()
def test_each_place_has_what_its_slots_say_in_their_shares() -> None:
    condition = Condition(16, (4, 4), layout=5, appearance=7)
    seen, slots = seen_of(2), torch.randn(2, 3, 16)
    tokens, [found] = condition(slots, seen)
    assert condition.layout is not None
    said = condition.layout(tokens)
    for row, column in ((0, 0), (1, 3), (3, 2)):
        block = seen.attention[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        wanted = (block.mean((2, 3))[..., None] * said).sum(1)
        torch.testing.assert_close(found[:, :, row, column], wanted)


@torch.no_grad()
def test_slots_with_their_places_are_a_set_and_looks_are_read() -> None:
    condition = Condition(16, (4, 4), layout=5, appearance=7)
    seen, slots, order = seen_of(2), torch.randn(2, 3, 16), [2, 0, 1]
    assert seen.appearance is not None
    tokens, [found] = condition(slots, seen)
    moved = Layout(seen.attention[:, order], seen.appearance[:, order])
    other, [same] = condition(slots[:, order], moved)
    torch.testing.assert_close(other, tokens[:, order])
    torch.testing.assert_close(same, found)
    for part in (slice(0, 7), slice(7, None)):
        looks = seen.appearance.clone()
        looks[:, 1, part] += torch.randn_like(looks[:, 1, part])
        changed, _ = condition(slots, Layout(seen.attention, looks))
        assert (changed - tokens).abs().amax((0, 2)).tolist()[::2] == [0, 0]
        assert (changed - tokens)[:, 1].abs().max() > 1e-3


@torch.no_grad()
def test_a_fine_map_is_folded_and_shows_the_colours_of_the_grids() -> None:
    condition = Condition(16, (4, 4), layout=5, appearance=7, colour_grid=3, patch=2)
    rng, slots = torch.Generator().manual_seed(4), torch.randn(2, 3, 16)
    attention = torch.rand(2, 3, 8, 8, generator=rng).softmax(1)
    looks = torch.randn(2, 3, 7 + 3 + 27 + 4, generator=rng)
    looks[..., -4:] = looks[..., -4:].sigmoid()
    seen = Layout(attention, looks)
    tokens, [found] = condition(slots, seen)
    assert found.shape == (2, map_channels(5, 3, 2), 4, 4)
    unfolded = torch.nn.functional.pixel_shuffle(found, 2)
    assert condition.layout is not None
    assert seen.appearance is not None
    shares = torch.einsum("bnij,bnc->bcij", attention, condition.layout(tokens))
    torch.testing.assert_close(unfolded[:, :5], shares)
    shown = colour_map(attention, seen.appearance[..., 10:], 3)
    torch.testing.assert_close(unfolded[:, 5:], shown)
    assert condition.appearance_channels == seen.appearance.shape[2]


def test_what_is_not_there_is_an_error() -> None:
    slots, seen = torch.randn(2, 3, 16), seen_of(2)
    with pytest.raises(ValueError, match="where the slots are"):
        Condition(16, (4, 4), layout=5)(slots, None)
    with pytest.raises(ValueError, match="look"):
        Condition(16, (4, 4), appearance=7)(slots, Layout(seen.attention))


def test_a_drawing_model_learns_all_of_its_decoder_and_draws(
    tiny_drawing_spec: SlotModelSpec,
) -> None:
    torch.manual_seed(0)
    model = build_model(tiny_drawing_spec)
    decoder = model.decoder
    assert isinstance(decoder, LatentDiffusion)
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    frames = torch.rand(1, 2, 3, 32, 32) * 2 - 1
    track = model.encoder(frames)
    slots, seen = track.slots.flatten(0, 1), track.layout
    target = decoder.target(frames.flatten(0, 1))
    decoder.loss(slots.detach(), target, seen).backward()
    unread = [
        name
        for name, parameter in decoder.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    assert unread == []
    decoder.eval()
    drawing = RenderOptions("multistep", 3)
    with torch.no_grad():
        whole = decoder.render(slots, drawing, seen)
        alone = [decoder.render(slots[i : i + 1], drawing, seen[i : i + 1]) for i in range(2)]
        moved = Layout(seen.attention.flip(-1), seen.appearance)
        other = decoder.render(slots, drawing, moved)
    assert whole.shape == (2, 3, 32, 32)
    torch.testing.assert_close(torch.cat(alone), whole, atol=1e-5, rtol=1e-5)
    assert (other - whole).abs().max() > 1e-2


@torch.no_grad()
def test_without_quantisation_no_code_is_used(tiny_drawing_spec: SlotModelSpec) -> None:
    decoder = tiny_drawing_spec.decoder.model_copy(update={"quantise": False})
    torch.manual_seed(0)
    model = build_model(tiny_drawing_spec.model_copy(update={"decoder": decoder}))
    track = model.encoder(torch.rand(1, 2, 3, 32, 32) * 2 - 1)
    slots, seen = track.slots.flatten(0, 1), track.layout
    drawn = model.decoder.render(slots, RenderOptions("multistep", 3), seen)
    model.decoder.codec.codebook.weight.mul_(-3)
    torch.testing.assert_close(
        model.decoder.render(slots, RenderOptions("multistep", 3), seen), drawn
    )
    model.decoder.quantise = True
    assert (
        model.decoder.render(slots, RenderOptions("multistep", 3), seen) - drawn
    ).abs().max() > 1e-3


@torch.no_grad()
def test_looks_are_means_over_each_slots_place(tiny_drawing_spec: SlotModelSpec) -> None:
    model = build_model(tiny_drawing_spec)
    frames = torch.rand(1, 2, 3, 32, 32) * 2 - 1
    track = model.encoder(frames)
    assert track.appearance is not None
    maps = model.encoder.backbone(frames[0])
    assert track.appearance.shape == (1, 2, 3, maps.shape[1] + 3 + 27 + 4)
    side = 32 // maps.shape[-1]
    for frame, slot in ((0, 1), (1, 2)):
        share = track.attention[0, frame, slot]
        pixels = share.repeat_interleave(side, 0).repeat_interleave(side, 1)
        colour = (frames[0, frame] * pixels).sum((1, 2)) / pixels.sum()
        features = (maps[frame] * share).sum((1, 2)) / share.sum()
        wanted = torch.cat([features, colour])
        found = track.appearance[0, frame, slot, : len(wanted)]
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
