"""The dVAE: single tokens in their places, mixtures in training."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slotcli.codecs.dvae import Dvae


@pytest.fixture
def codec() -> Dvae:
    torch.manual_seed(0)
    return Dvae(channels=8, num_codes=16).double()


@pytest.fixture
def frames() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(3, 3, 12, 20, generator=generator, dtype=torch.float64) * 2 - 1


def test_the_published_size() -> None:
    with torch.device("meta"):
        codec = Dvae(channels=64, num_codes=4096)
    assert sum(p.numel() for p in codec.encoder.parameters()) == 294_784
    assert sum(p.numel() for p in codec.decoder.parameters()) == 387_139


@torch.no_grad()
def test_tokens_stand_row_by_row(codec: Dvae, frames: Tensor) -> None:
    """Nothing but the normalisation, which is of whole maps, looks beyond a 4x4 block."""
    tokens = codec.tokens(frames).view(3, 3, 5)
    assert len(tokens.unique()) > 3
    for axis in (1, 2):
        moved = codec.tokens(frames.roll(4, dims=axis + 1)).view(3, 3, 5)
        assert torch.equal(moved, tokens.roll(1, dims=axis))


@torch.no_grad()
def test_decoding_reads_one_code_at_each_place(codec: Dvae, frames: Tensor) -> None:
    tokens = codec.tokens(frames)
    codes = torch.zeros(3, 16, 3, 5, dtype=torch.float64)
    for b in range(3):
        for place, token in enumerate(tokens[b].tolist()):
            codes[b, token, place // 5, place % 5] = 1
    wanted = codec.decoder(codes)
    assert wanted.shape == frames.shape
    torch.testing.assert_close(codec.decode_tokens(tokens, (3, 5)), wanted)
    torch.testing.assert_close(codec.decode(codec.encode(frames)), wanted)


@torch.no_grad()
def test_many_frames_are_coded_as_each_alone(codec: Dvae) -> None:
    frames = torch.rand(19, 3, 8, 8, dtype=torch.float64) * 2 - 1
    tokens = codec.tokens(frames)
    drawn = codec.decode_tokens(tokens, (2, 2))
    for index in (0, 7, 8, 18):
        one = slice(index, index + 1)
        assert torch.equal(codec.tokens(frames[one]), tokens[one])
        torch.testing.assert_close(codec.decode_tokens(tokens[one], (2, 2)), drawn[one])


@torch.no_grad()
def test_mixtures_harden_into_codes_drawn_by_their_likelihood(
    codec: Dvae, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = torch.randn(1, 16, 1, 1, dtype=torch.float64).expand(1, 16, 100, 200)
    monkeypatch.setattr(codec, "encode", lambda frames: logits)
    seen: list[Tensor] = []
    codec.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.manual_seed(0)
    for temperature in (1.0, 0.1, 1e-6):
        codec(torch.zeros(1, 3, 400, 800, dtype=torch.float64), temperature)
        torch.testing.assert_close(seen[-1].sum(1), torch.ones(1, 100, 200, dtype=torch.float64))
    soft, harder, hard = (mixtures.amax(1).mean() for mixtures in seen)
    assert soft < 0.7 < harder < 0.99 < hard
    # 20,000 draws: a share's standard deviation is below 0.0036.
    torch.testing.assert_close(
        seen[-1].mean((0, 2, 3)), logits[0, :, 0, 0].softmax(0), atol=0.015, rtol=0
    )


def test_training_reaches_every_parameter_and_knows_its_tokens(codec: Dvae, frames: Tensor) -> None:
    output = codec(frames, 0.5)
    F.mse_loss(output.frames, frames).backward()
    assert all(p.grad is not None and p.grad.any() for p in codec.parameters())
    assert torch.equal(output.tokens, codec.tokens(frames))
    assert not torch.equal(codec(frames, 0.5).frames, output.frames)  # the mixtures are drawn
