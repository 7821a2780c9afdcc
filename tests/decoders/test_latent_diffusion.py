from typing import Literal, get_args

import pytest
import torch
from torch import Tensor, nn

from slotcli.build import build_model
from slotcli.decoders.base import RenderOptions
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.definition import parse_spec, spec_json
from slotcli.diffusion.denoiser import x0_prediction
from slotcli.diffusion.samplers import Sampler, sample
from slotcli.spec import SlotModelSpec

pytestmark = pytest.mark.slow


@pytest.fixture
def decoder(tiny_slot_spec: SlotModelSpec) -> LatentDiffusion:
    """As built, but with random weights in the layers that start at zero and hide all others."""
    torch.manual_seed(0)
    decoder = build_model(tiny_slot_spec).decoder
    assert isinstance(decoder, LatentDiffusion)
    for parameter in decoder.unet.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    # Codes far apart: a rounding error must not decide between two of them.
    nn.init.normal_(decoder.get_parameter("codec.codebook.weight"), std=2.0)
    return decoder.eval()


@pytest.fixture
def slots() -> Tensor:
    return torch.randn(5, 3, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_a_frame_is_drawn_the_same_at_any_batch_size(
    decoder: LatentDiffusion, slots: Tensor, sampler: Sampler
) -> None:
    drawing = RenderOptions(sampler, evaluations=4)
    whole = decoder.render(slots, drawing)
    assert whole.shape == (5, 3, 32, 32)
    assert whole.abs().max() <= 1
    assert (whole[0] - whole[1]).abs().max() > 1e-2
    for size in (1, 2):
        parts = [decoder.render(part, drawing) for part in slots.split(size)]
        torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("target", ["eps", "x0", "v"])
@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_drawing_is_sampling_with_the_snapped_clean_signal(
    decoder: LatentDiffusion,
    slots: Tensor,
    sampler: Sampler,
    target: Literal["eps", "x0", "v"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same written with the general sampler, at a time and with scales of its own."""
    decoder.prediction_target, decoder.latent_scale = target, 1.3
    tokens = torch.cat([slots, decoder.null.expand(5, -1, -1)], dim=1)
    schedule, context = decoder.schedule, decoder.unet.project_context(tokens, (16, 16))
    noise = torch.randn(decoder.latent_shape, generator=torch.Generator().manual_seed(2))

    def denoise(noisy: Tensor, time: float) -> Tensor:
        step = torch.full((5,), schedule.model_step(time))
        prediction = decoder.unet(noisy, step, context)
        alpha, sigma = schedule.alpha(time), schedule.sigma(time)
        clean = x0_prediction(target, prediction, noisy, alpha, sigma)
        return 1.3 * decoder.codec.quantise(clean / 1.3)

    given: list[Tensor] = []

    def decode(latents: Tensor) -> Tensor:
        given.append(latents)
        return torch.zeros(len(latents), 3, 32, 32)

    monkeypatch.setattr(decoder.codec, "decode", decode)
    decoder.render_from(slots, noise, sampler, 5)
    wanted = sample(sampler, denoise, noise.expand(5, -1, -1, -1), schedule, 5)
    torch.testing.assert_close(1.3 * given[0], wanted, atol=1e-4, rtol=1e-4)


def test_drawing_depends_on_its_seed_alone(decoder: LatentDiffusion, slots: Tensor) -> None:
    first = decoder.render(slots, RenderOptions(evaluations=3))
    torch.manual_seed(99)
    assert torch.equal(decoder.render(slots, RenderOptions(evaluations=3)), first)
    other = decoder.render(slots, RenderOptions(evaluations=3, seed=1))
    assert (other - first).abs().max() > 1e-2
    noise = torch.randn(decoder.latent_shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(decoder.render_from(slots, noise, "singlestep", 3), other)


def test_a_decoder_says_how_many_evaluations_a_frame_takes(
    decoder: LatentDiffusion, slots: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = decoder.render(slots, RenderOptions(evaluations=2))
    monkeypatch.setattr(decoder, "evaluations", 2)
    assert torch.equal(decoder.render(slots, RenderOptions()), wanted)
    assert not torch.equal(decoder.render(slots, RenderOptions(evaluations=3)), wanted)


def test_noise_is_scaled_for_a_drawing_or_as_the_decoder_says(
    decoder: LatentDiffusion, slots: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = torch.randn(decoder.latent_shape, generator=torch.Generator().manual_seed(4))
    wanted = decoder.render_from(slots, 0.25 * noise, "ddim", 3)
    assert torch.equal(decoder.render(slots, RenderOptions("ddim", 3, 4, noise_scale=0.25)), wanted)
    monkeypatch.setattr(decoder, "noise_scale", 0.25)
    assert torch.equal(decoder.render(slots, RenderOptions("ddim", 3, 4)), wanted)
    # Without noise no seed tells one drawing from another.
    first, other = (decoder.render(slots, RenderOptions("ddim", 3, seed, 0.0)) for seed in (0, 1))
    assert torch.equal(first, other)
    assert not torch.equal(first, wanted)


def test_slots_are_a_set(decoder: LatentDiffusion, slots: Tensor) -> None:
    drawing = RenderOptions("multistep", 3)
    found = decoder.render(slots[:, [2, 0, 1]], drawing)
    torch.testing.assert_close(found, decoder.render(slots, drawing), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_loss_of_a_batch_is_that_of_its_items(decoder: LatentDiffusion, slots: Tensor) -> None:
    target, noise = torch.randn(2, 5, 4, 16, 16)
    step = torch.tensor([0, 10, 300, 700, 999])
    together = decoder.loss_at(slots, target, noise, step)
    for item in range(5):
        alone = decoder.loss_at(*(value[item : item + 1] for value in (slots, target, noise, step)))
        torch.testing.assert_close(alone[0], together[item], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("timesteps", "allowed"), [("uniform", (0, 999)), ("mid", (100, 599))])
def test_steps_are_drawn_from_their_range(
    tiny_slot_spec: SlotModelSpec,
    slots: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    timesteps: str,
    allowed: tuple[int, int],
) -> None:
    train = tiny_slot_spec.train.model_copy(update={"timesteps": timesteps})
    decoder = build_model(tiny_slot_spec.model_copy(update={"train": train})).decoder
    assert isinstance(decoder, LatentDiffusion)
    seen: list[Tensor] = []

    def loss_at(
        slots: Tensor, target: Tensor, noise: Tensor, step: Tensor, layout: object
    ) -> Tensor:
        seen.append(step)
        return torch.zeros(len(slots))

    monkeypatch.setattr(decoder, "loss_at", loss_at)
    many = slots[:1].expand(20_000, -1, -1)
    decoder.loss(many, torch.zeros(20_000, 4, 1, 1))
    assert seen[0].min().item() == pytest.approx(allowed[0], abs=5)
    assert seen[0].max().item() == pytest.approx(allowed[1], abs=5)
    assert allowed[0] <= seen[0].min()
    assert seen[0].max() <= allowed[1]


def test_only_the_unet_is_trained(decoder: LatentDiffusion, slots: Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in decoder.codec.state_dict().items()}
    slots = slots.requires_grad_()
    decoder.train()
    loss = decoder.loss(slots, decoder.target(torch.rand(5, 3, 32, 32)))
    loss.backward()
    assert slots.grad is not None
    assert slots.grad.any()
    assert all(p.grad is None and not p.requires_grad for p in decoder.codec.parameters())
    assert all(p.grad is not None for p in decoder.unet.parameters())
    trained = {name for name, p in decoder.named_parameters() if p.requires_grad}
    assert all(name.startswith("unet.") for name in trained)
    assert all(torch.equal(t, before[name]) for name, t in decoder.codec.state_dict().items())


def test_null_tokens_are_fixed_saved_and_read(decoder: LatentDiffusion, slots: Tensor) -> None:
    assert not decoder.null.requires_grad
    assert "null" not in dict(decoder.named_parameters())
    assert torch.equal(decoder.state_dict()["null"], decoder.null)
    assert decoder.null.shape == (1, 2, 16)
    step, target = torch.full((5,), 300), torch.zeros(5, 4, 16, 16)
    with torch.no_grad():
        before = decoder.loss_at(slots, target, target + 1, step)
        decoder.null += 1
        assert (decoder.loss_at(slots, target, target + 1, step) - before).abs().max() > 1e-6


def test_without_null_tokens_nothing_is_saved(tiny_slot_spec: SlotModelSpec) -> None:
    plain = tiny_slot_spec.decoder.model_copy(update={"null_tokens": 0})
    decoder = build_model(tiny_slot_spec.model_copy(update={"decoder": plain})).decoder
    assert isinstance(decoder, LatentDiffusion)
    assert "null" not in decoder.state_dict()
    with torch.no_grad():
        loss = decoder.loss_at(
            torch.randn(2, 3, 16),
            torch.zeros(2, 4, 16, 16),
            torch.ones(2, 4, 16, 16),
            torch.tensor([5, 9]),
        )
    torch.testing.assert_close(loss, torch.ones(2))  # untrained, the U-Net predicts no noise at all


def test_latents_are_scaled_for_the_diffusion_and_only_for_it(
    tiny_slot_spec: SlotModelSpec, slots: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen from the codec, targets and drawn latents have the codec's own scale."""
    scaled = tiny_slot_spec.decoder.model_copy(update={"latent_scale": 4.0})
    decoder = build_model(tiny_slot_spec.model_copy(update={"decoder": scaled})).decoder.eval()
    assert isinstance(decoder, LatentDiffusion)
    frames = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(decoder.target(frames), 4 * decoder.codec.encode(frames))

    given: list[Tensor] = []

    def decode(latents: Tensor) -> Tensor:
        given.append(latents)
        return torch.zeros(len(latents), 3, 32, 32)

    monkeypatch.setattr(decoder.codec, "decode", decode)
    noise = torch.randn(decoder.latent_shape, generator=torch.Generator().manual_seed(0))
    decoder.render_from(slots, noise, "ddim", 1)
    # One step of DDIM: what is left of the noise, and a multiple of the codes that it quantised to.
    alpha, sigma = decoder.schedule.alpha, decoder.schedule.sigma
    left = sigma(0.001) / sigma(1.0)
    clean = (4 * given[0] - left * noise) / (alpha(0.001) - left * alpha(1.0)) / 4
    torch.testing.assert_close(clean, decoder.codec.quantise(clean), atol=1e-5, rtol=0)


def test_masks_are_the_attention(decoder: LatentDiffusion, slots: Tensor) -> None:
    attention = torch.rand(5, 3, 4, 4)
    assert decoder.soft_masks(slots, attention) is attention


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
def test_the_pixels_themselves_can_be_diffused(tiny_slot_spec: SlotModelSpec, target: str) -> None:
    """Paper, E.4: no codec, any target; what is drawn stays in range, and gradients reach slots."""
    values = spec_json(tiny_slot_spec)
    values["decoder"] |= {"codec": {"kind": "pixels"}, "target": target}
    values["train"]["codec"] = None
    spec = parse_spec(values, "tests")
    assert isinstance(spec, SlotModelSpec)
    decoder = build_model(spec).decoder
    assert isinstance(decoder, LatentDiffusion)
    for parameter in decoder.unet.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    frames = torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.equal(decoder.target(frames), frames)
    slots = torch.randn(2, 3, 16, requires_grad=True)
    decoder.loss(slots, frames).backward()
    assert slots.grad is not None
    assert slots.grad.any()
    drawn = decoder.eval().render(slots.detach(), RenderOptions(evaluations=4))
    assert drawn.shape == frames.shape
    assert drawn.abs().max() <= 1
