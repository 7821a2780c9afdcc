"""The plain form and ours: two ways to the same numbers, each the other's oracle."""

import pytest
import torch
from torch import Tensor, nn

from slotcli.bench import plain_operations
from slotcli.bench.plain_model import PlainDiffusion, plain
from slotcli.build import build_model
from slotcli.decoders.base import RenderOptions
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.definition import parse_spec, spec_json
from slotcli.diffusion.unet import Attention
from slotcli.kernels import group_norm_act, mask_argmax, nearest_code, slot_cross_attention
from slotcli.model import SlotModel, normalise
from slotcli.spec import SlotModelSpec

LITE = {"kind": "efficientnet_lite0", "channels": 16}


def built(spec: SlotModelSpec) -> SlotModel:
    torch.manual_seed(0)
    model = build_model(spec)
    # What starts at zero would hide whatever hangs on it.
    for parameter in model.parameters():
        if not parameter.any() or (parameter == 1).all():
            nn.init.normal_(parameter, 0.3, std=0.3)
    if isinstance(model.decoder, LatentDiffusion):
        # Codes far apart: a rounding error must not decide between two of them.
        nn.init.normal_(model.decoder.get_parameter("codec.codebook.weight"), std=2.0)
    # The noise of a loss is drawn in the order of memory.
    return model.to(memory_format=torch.channels_last).eval()


@pytest.fixture
def model(tiny_slot_spec: SlotModelSpec) -> SlotModel:
    return built(tiny_slot_spec)


@pytest.fixture
def frames() -> Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.randint(256, (1, 2, 3, 32, 32), dtype=torch.uint8, generator=rng)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_slots_and_attention_of_every_system_agree(
    system_spec: SlotModelSpec, frames: Tensor
) -> None:
    model = built(system_spec)
    ours, other = model.encode(frames), plain(model).encode(frames)
    close(ours.slots, other.slots)
    close(ours.attention, other.attention)
    assert ours.slots.std() > 0.1


def test_biased_slots_of_any_shape_agree(tiny_slot_spec: SlotModelSpec, frames: Tensor) -> None:
    values = spec_json(tiny_slot_spec)
    values["encoder"] |= {"slot_bias": True, "backbone": LITE, "warm_up": 2}
    values["decoder"] = {"kind": "none"}
    values["train"] |= {"codec": None, "mask_weight": 1.0}
    spec = parse_spec(values, "tests")
    assert isinstance(spec, SlotModelSpec)
    model = built(spec)
    wide = torch.cat([frames, frames.flip(-1)], dim=-1)
    ours, other = model.encode(wide), plain(model).encode(wide)
    close(ours.slots, other.slots)
    close(ours.attention, other.attention)
    assert ours.attention.shape[-2:] == (8, 16)


def test_the_state_of_a_chunk_is_taken_up(model: SlotModel, frames: Tensor) -> None:
    other = plain(model)
    first = other.encode(frames[:, :1])
    rest = other.encode(frames[:, 1:], first.slots[:, -1])
    whole = model.encode(frames)
    close(torch.cat([first.slots, rest.slots], dim=1), whole.slots)


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
def test_drawn_frames_agree(tiny_slot_spec: SlotModelSpec, frames: Tensor, target: str) -> None:
    decoder = tiny_slot_spec.decoder.model_copy(update={"target": target, "latent_scale": 1.5})
    model = built(tiny_slot_spec.model_copy(update={"decoder": decoder}))
    slots = model.encode(frames).slots.flatten(0, 1)
    drawing = RenderOptions(evaluations=3, seed=3, noise_scale=0.7)
    ours, other = (each.decoder.render(slots, drawing) for each in (model, plain(model)))
    close(ours, other)
    assert ours.std() > 0.05


@pytest.mark.parametrize("quantise", [True, False])
def test_frames_drawn_from_grids_of_colours_agree(
    tiny_drawing_spec: SlotModelSpec, frames: Tensor, quantise: bool
) -> None:
    decoder = tiny_drawing_spec.decoder.model_copy(update={"quantise": quantise})
    model = built(tiny_drawing_spec.model_copy(update={"decoder": decoder}))
    drawing = RenderOptions(evaluations=3, seed=3)
    drawn = []
    for each in (model, plain(model)):
        track = each.encode(frames)
        drawn.append(each.decoder.render(track.slots.flatten(0, 1), drawing, track.layout))
    close(*drawn)
    assert drawn[0].std() > 0.05


def test_masks_agree(model: SlotModel, frames: Tensor) -> None:
    track = model.encode(frames)
    other = plain(model)
    assert torch.equal(model.soft_masks(track), other.soft_masks(track))
    shares = track.attention.flatten(0, 1)
    for size in ((77, 50), (8, 9)):
        found = plain_operations.mask_argmax(shares, size)
        assert torch.equal(found.byte(), mask_argmax(shares, size))


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
def test_a_loss_and_its_gradients_agree(
    tiny_slot_spec: SlotModelSpec, frames: Tensor, target: str
) -> None:
    decoder = tiny_slot_spec.decoder.model_copy(update={"target": target})
    model = built(tiny_slot_spec.model_copy(update={"decoder": decoder}))
    found = []
    for each in (model, plain(model)):
        normal = normalise(frames)
        torch.manual_seed(5)
        wanted = each.decoder.target(normal.flatten(0, 1))
        loss = each.decoder.loss(each.encoder(normal).slots.flatten(0, 1), wanted)
        loss.backward()
        gradients = sorted(p.grad.norm().item() for p in each.parameters() if p.grad is not None)
        found.append(torch.tensor([loss.item(), *gradients]))
    assert len(found[0]) > 50
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_the_copy_shares_nothing_and_keeps_the_original(model: SlotModel) -> None:
    kinds = [type(part) for part in model.modules()]
    other = plain(model)
    assert [type(part) for part in model.modules()] == kinds
    assert isinstance(other.decoder, PlainDiffusion)
    own = {parameter.data_ptr() for parameter in model.parameters()}
    assert not own & {parameter.data_ptr() for parameter in other.parameters()}
    assert sum(p.numel() for p in other.parameters()) == sum(p.numel() for p in model.parameters())


def test_none_of_our_operations_runs_in_it(
    model: SlotModel, frames: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch.ops.slotcli is where every one of them goes through."""
    other = plain(model)
    with torch.profiler.profile() as profile:
        slots = other.encode(frames).slots.flatten(0, 1)
        other.decoder.render(slots, RenderOptions(evaluations=2))
    names = {event.key for event in profile.key_averages()}
    assert "aten::group_norm" in names
    assert not [name for name in names if name.startswith("slotcli")]


def test_cross_attention_agrees() -> None:
    torch.manual_seed(0)
    norm, attention = nn.LayerNorm(64), Attention(64, 16)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    x, context = torch.randn(2, 10, 64), torch.randn(2, 3, 16)
    with torch.no_grad():
        absorbed = attention.absorb(attention.project(context), norm)
        ours = slot_cross_attention(x, *absorbed, heads=2, eps=norm.eps)
        close(plain_operations.cross_attention(x, context, norm, attention), ours)


def test_nearest_code_agrees() -> None:
    rng = torch.Generator().manual_seed(0)
    latents, codes = torch.randn(200, 3, generator=rng), torch.randn(64, 3, generator=rng)
    found = plain_operations.nearest_code(latents.double(), codes.double())
    assert torch.equal(found, nearest_code(latents.double(), codes.double()))


@pytest.mark.parametrize("activation", ["none", "relu", "silu"])
def test_group_norm_agrees(activation) -> None:
    rng = torch.Generator().manual_seed(0)
    x, residual = (torch.randn(2, 8, 3, 5, generator=rng) for _ in range(2))
    weight, bias, shift = (torch.randn(s, generator=rng) for s in (8, 8, (2, 8)))
    options = {"groups": 4, "eps": 1e-5, "activation": activation}
    options |= {"shift": shift, "residual": residual}
    found = plain_operations.group_norm_act(x, weight, bias, **options)
    close(found, group_norm_act(x, weight, bias, **options))
