"""The VQ-VAE's quantiser: what is passed on, what is learned from it, what is moved."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slotcli.codecs.vqvae import Vqvae


@pytest.fixture
def codec() -> Vqvae:
    torch.manual_seed(0)
    module = Vqvae(channels=8, multipliers=(1, 2), res_blocks=1, latent_channels=4, num_codes=16)
    torch.nn.init.normal_(module.codebook.weight)
    return module


@pytest.fixture
def latents(codec: Vqvae, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Latents as a leaf that the codec takes for what its encoder said."""
    leaf = torch.randn(2, 4, 4, 6, requires_grad=True)
    monkeypatch.setattr(codec, "encode", lambda frames: leaf)
    return leaf


FRAMES = torch.zeros(2, 3, 8, 12)


@torch.no_grad()
@pytest.mark.parametrize(("multipliers", "factor"), [((1,), 1), ((1, 2), 2), ((1, 1, 2), 4)])
def test_sizes(multipliers: tuple[int, ...], factor: int) -> None:
    codec = Vqvae(8, multipliers, 1, latent_channels=5, num_codes=7)
    frames = torch.rand(2, 3, 16, 24)
    latents = codec.encode(frames)
    assert latents.shape == (2, 5, 16 // factor, 24 // factor)
    assert codec.codes(latents).shape == (2 * 16 * 24 // factor**2,)
    assert codec.decode(latents).shape == frames.shape
    assert codec(frames).frames.shape == frames.shape


@torch.no_grad()
def test_snap_gives_the_nearest_code_and_is_idempotent(codec: Vqvae) -> None:
    latents = torch.randn(2, 4, 3, 5)
    quantised = codec.quantise(latents)
    assert torch.equal(codec.quantise(quantised), quantised)
    for b, i, j in ((0, 0, 0), (1, 2, 4), (0, 1, 3)):
        distances = (codec.codebook.weight - latents[b, :, i, j]).square().sum(1)
        torch.testing.assert_close(quantised[b, :, i, j], codec.codebook.weight[distances.argmin()])


@torch.no_grad()
def test_decode_snaps_first(codec: Vqvae) -> None:
    latents = torch.randn(1, 4, 3, 5)
    assert torch.equal(codec.decode(latents), codec.decode(codec.quantise(latents)))


def test_the_gradient_goes_straight_through(codec: Vqvae, latents: Tensor) -> None:
    weights = torch.randn(2, 3, 8, 12)
    (codec(FRAMES).frames * weights).sum().backward()
    at_decoder = codec.quantise(latents).detach().requires_grad_()
    (codec.decoder(codec.from_latents(at_decoder)) * weights).sum().backward()
    assert latents.grad is not None
    assert at_decoder.grad is not None
    torch.testing.assert_close(latents.grad, at_decoder.grad, atol=1e-4, rtol=1e-4)
    assert codec.codebook.weight.grad is None or not codec.codebook.weight.grad.any()


def test_the_decoder_is_trained_on_what_it_will_be_given(codec: Vqvae, latents: Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(
            codec(FRAMES).frames, codec.decode(latents), atol=1e-5, rtol=1e-4
        )


def test_commitment_weighs_one_and_the_codebook_a_quarter(codec: Vqvae, latents: Tensor) -> None:
    output = codec(FRAMES)
    output.quantisation_loss.backward()
    quantised = F.embedding(output.codes, codec.codebook.weight.detach())
    rows = latents.detach().permute(0, 2, 3, 1).reshape(-1, 4)
    pull = 2 * (rows - quantised) / rows.numel()
    assert latents.grad is not None
    torch.testing.assert_close(latents.grad.permute(0, 2, 3, 1).reshape(-1, 4), pull)
    codebook = torch.zeros(16, 4).index_add_(0, output.codes, -0.25 * pull)
    torch.testing.assert_close(codec.codebook.weight.grad, codebook)
    torch.testing.assert_close(
        output.quantisation_loss.item(), 1.25 * F.mse_loss(rows, quantised).item()
    )


def test_without_quantisation_the_codebook_follows_and_nothing_else_changes(
    codec: Vqvae, latents: Tensor
) -> None:
    output = codec(FRAMES, quantise=False)
    torch.testing.assert_close(output.frames, codec.decoder(codec.from_latents(latents)))
    output.quantisation_loss.backward()
    assert latents.grad is None or not latents.grad.any()
    assert codec.codebook.weight.grad is not None
    assert codec.codebook.weight.grad.any()


def test_untrained_blocks_are_their_shortcuts_and_every_part_is_trained(codec: Vqvae) -> None:
    zero = [name for name, p in codec.named_parameters() if name.endswith("weight") and not p.any()]
    assert {name.split(".")[-2] for name in zero} == {"conv2", "out"}
    for parameter in codec.parameters():
        if not parameter.any():  # would hide whatever hangs on it
            torch.nn.init.normal_(parameter, std=0.1)
    output = codec(torch.rand(2, 3, 8, 12))
    (output.frames.square().mean() + output.quantisation_loss).backward()
    assert [
        name for name, p in codec.named_parameters() if p.grad is None or not p.grad.any()
    ] == []


def test_only_dead_codes_are_moved(codec: Vqvae) -> None:
    before = codec.codebook.weight.detach().clone()
    used = torch.ones(16, dtype=torch.bool)
    used[[3, 7, 8]] = False
    latents = torch.randn(50, 4)
    assert codec.restart_dead_codes(latents, used, 0) == 3
    after = codec.codebook.weight.detach()
    assert torch.equal(after[used], before[used])
    sources = [(latents == code).all(1).nonzero().flatten().tolist() for code in after[~used]]
    assert all(len(source) == 1 for source in sources)
    assert len({source[0] for source in sources}) == 3


def test_no_more_codes_are_moved_than_there_are_latents(codec: Vqvae) -> None:
    before = codec.codebook.weight.detach().clone()
    assert codec.restart_dead_codes(torch.randn(2, 4), torch.zeros(16, dtype=torch.bool), 0) == 2
    moved = (codec.codebook.weight.detach() != before).any(1)
    assert moved.nonzero().flatten().tolist() == [0, 1]
    assert codec.restart_dead_codes(torch.randn(2, 4), torch.ones(16, dtype=torch.bool), 0) == 0


def test_with_shortcuts_a_codec_starts_as_the_mean_colour_of_patches() -> None:
    codec = Vqvae(8, (1, 1, 2), 1, latent_channels=4, num_codes=7, shortcuts=True)
    frames = torch.rand(2, 3, 16, 24) * 2 - 1
    drawn = codec(frames, quantise=False).frames
    means = F.interpolate(F.avg_pool2d(frames, 4), scale_factor=4.0, mode="nearest")
    # a tenth of what the untrained encoder says is in the latents
    assert F.mse_loss(drawn, means) < 0.05 * F.mse_loss(torch.zeros_like(means), frames)


def test_with_shortcuts_every_part_is_trained() -> None:
    torch.manual_seed(0)
    codec = Vqvae(8, (1, 2), 1, latent_channels=4, num_codes=16, shortcuts=True)
    for parameter in codec.parameters():
        if not parameter.any():  # would hide whatever hangs on it
            torch.nn.init.normal_(parameter, std=0.1)
    output = codec(torch.rand(2, 3, 8, 12))
    (output.frames.square().mean() + output.quantisation_loss).backward()
    assert [n for n, p in codec.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_without_shortcuts_nothing_is_added_to_a_published_codec() -> None:
    codec = Vqvae(8, (1, 2), 1, latent_channels=4, num_codes=16)
    assert not [name for name in codec.state_dict() if name.startswith("shortcuts")]
