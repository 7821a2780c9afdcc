"""The token transformer against torch's own, and what has to hold of generation."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slotcli.codecs.dvae import Dvae
from slotcli.decoders import token_transformer
from slotcli.decoders.base import Decoder, RenderOptions
from slotcli.decoders.token_transformer import TokenTransformer
from slotcli.errors import ConfigError

CODES, GRID, PLACES = 12, (3, 4), 12


def made(blocks: int = 3) -> TokenTransformer:
    """In float64, so that no rounding decides between two tokens."""
    torch.manual_seed(0)
    codec = Dvae(channels=8, num_codes=CODES)
    decoder = TokenTransformer(codec, grid=GRID, slot_dim=16, blocks=blocks, heads=2).double()
    for name, parameter in decoder.named_parameters():
        if "norm" in name or "bias" in name:  # as built, many of them would do nothing
            parameter.data += 0.2 * torch.randn_like(parameter)
        if "cross_attention.out" in name:  # as built, slots would hardly be heard
            parameter.data *= 5
    return decoder.eval()


@pytest.fixture
def decoder() -> TokenTransformer:
    return made()


@pytest.fixture
def slots() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(5, 3, 16, generator=generator, dtype=torch.float64)


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(CODES, (5, PLACES), generator=torch.Generator().manual_seed(2))


def test_the_published_size() -> None:
    with torch.device("meta"):
        decoder = TokenTransformer(
            Dvae(channels=64, num_codes=4096), grid=(32, 32), slot_dim=192, blocks=8, heads=4
        )
    trained = sum(p.numel() for p in decoder.parameters() if p.requires_grad)
    assert trained == 6_542_592
    assert isinstance(decoder, Decoder)


def torchs_block(block: nn.Module) -> nn.TransformerDecoderLayer:
    """The same block in torch's own layer, where projections are stacked and have biases."""
    layer = nn.TransformerDecoderLayer(16, 2, 64, dropout=0, batch_first=True, norm_first=True)
    ours = block.state_dict()
    theirs = {name: torch.zeros_like(value) for name, value in layer.state_dict().items()}
    for own, name in (("self_attention", "self_attn"), ("cross_attention", "multihead_attn")):
        parts = [ours[f"{own}.{part}.weight"] for part in ("queries", "keys", "values")]
        theirs[f"{name}.in_proj_weight"] = torch.cat(parts)
        theirs[f"{name}.out_proj.weight"] = ours[f"{own}.out.weight"]
    names = {
        "norm_self": "norm1",
        "norm_cross": "norm2",
        "norm_feed": "norm3",
        "feed_forward.0": "linear1",
        "feed_forward.2": "linear2",
    }
    for own, name in names.items():
        for kind in ("weight", "bias"):
            theirs[f"{name}.{kind}"] = ours[f"{own}.{kind}"]
    layer = layer.double().eval()
    layer.load_state_dict(theirs)
    return layer


@torch.no_grad()
def test_logits_are_those_of_torchs_transformer(
    decoder: TokenTransformer, slots: Tensor, tokens: Tensor
) -> None:
    before = F.pad(tokens[:, :-1], (1, 0), value=CODES)
    x = decoder.tokens(before) + decoder.positions
    context = decoder.slots_in(slots)
    mask = torch.ones(PLACES, PLACES, dtype=torch.bool).triu(1)
    for index, block in enumerate(decoder.blocks):
        layer = torchs_block(block)
        if index == 0:  # the published peculiarity: its shortcut carries what is normalised
            x = layer.norm1(x)
            layer.norm1 = nn.Identity()
        x = layer(x, context, tgt_mask=mask)
    wanted = decoder.head(decoder.norm_out(x))
    torch.testing.assert_close(decoder.logits(slots, tokens), wanted)


@torch.no_grad()
def test_a_token_depends_on_those_before_it_only(
    decoder: TokenTransformer, slots: Tensor, tokens: Tensor
) -> None:
    logits = decoder.logits(slots, tokens)
    for place in range(PLACES):
        changed = tokens.clone()
        changed[:, place] = (tokens[:, place] + 1) % CODES
        others = decoder.logits(slots, changed)
        torch.testing.assert_close(others[:, : place + 1], logits[:, : place + 1])
        moved = (others - logits).abs().amax((0, 2))[place + 1 :]
        assert (moved > 1e-4).all()


def test_cached_and_uncached_generation_are_greedy_decoding(
    decoder: TokenTransformer, slots: Tensor
) -> None:
    generated = decoder.generate(slots)
    assert torch.equal(decoder.generate(slots, cached=False), generated)
    assert torch.equal(decoder.logits(slots, generated).argmax(2), generated)
    assert generated.shape == (5, PLACES)
    assert len(generated.unique()) > 3
    assert len(generated.unique(dim=0)) == 5
    assert generated.max() < CODES


@pytest.mark.parametrize("together", [1, 2, 16])
def test_a_frame_is_drawn_the_same_whatever_stands_beside_it(
    decoder: TokenTransformer, slots: Tensor, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_transformer, "_FRAMES", together)
    frames = decoder.render(slots, RenderOptions())
    assert frames.shape == (5, 3, 12, 16)
    assert frames.abs().max() <= 1
    assert (frames[0] - frames[1]).abs().max() > 1e-2
    for index in range(5):
        tokens = decoder.generate(slots[index : index + 1])
        alone = decoder.codec.decode_tokens(tokens, GRID).clamp(-1, 1)
        torch.testing.assert_close(alone[0], frames[index])


@torch.no_grad()
def test_slots_are_a_set(decoder: TokenTransformer, slots: Tensor, tokens: Tensor) -> None:
    logits = decoder.logits(slots, tokens)
    torch.testing.assert_close(decoder.logits(slots[:, [2, 0, 1]], tokens), logits)
    assert (decoder.logits(slots.roll(1, dims=0), tokens) - logits).abs().max() > 1e-2


def test_the_loss_is_the_mean_surprise_at_a_token(
    decoder: TokenTransformer, slots: Tensor, tokens: Tensor
) -> None:
    with torch.no_grad():
        likely = decoder.logits(slots, tokens).softmax(2)
        surprise = [-math.log(likely[b, p, tokens[b, p]]) for b in range(5) for p in range(PLACES)]
        assert decoder.loss(slots, tokens).item() == pytest.approx(sum(surprise) / len(surprise))
        nn.init.zeros_(decoder.head.weight)
        assert decoder.loss(slots, tokens).item() == pytest.approx(math.log(CODES))


def test_only_the_transformer_is_trained(decoder: TokenTransformer, slots: Tensor) -> None:
    slots.requires_grad_()
    decoder.train()
    assert not any(module.training for module in decoder.codec.modules())
    frames = torch.rand(5, 3, 12, 16, dtype=torch.float64) * 2 - 1
    target = decoder.target(frames)
    assert torch.equal(target, decoder.codec.tokens(frames))
    decoder.loss(slots, target).backward()
    assert slots.grad is not None
    assert (slots.grad != 0).any(2).all()
    for name, parameter in decoder.named_parameters():
        assert parameter.requires_grad != name.startswith("codec."), name
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_dropout_is_for_training_only(
    decoder: TokenTransformer, slots: Tensor, tokens: Tensor
) -> None:
    assert torch.equal(decoder.loss(slots, tokens), decoder.loss(slots, tokens))
    decoder.train()
    assert not torch.equal(decoder.loss(slots, tokens), decoder.loss(slots, tokens))


@pytest.mark.parametrize("blocks", [1, 8])
def test_branches_start_small(blocks: int) -> None:
    """Xavier-uniform weights fill their range, which the gain narrows."""
    decoder = TokenTransformer(Dvae(8, CODES), grid=GRID, slot_dim=16, blocks=blocks, heads=2)
    gain = (3 * blocks) ** -0.5
    state = decoder.state_dict()
    for name, ends in (
        ("self_attention.queries", math.sqrt(6 / 32)),
        ("self_attention.out", gain * math.sqrt(6 / 32)),
        ("cross_attention.out", gain * math.sqrt(6 / 32)),
        ("feed_forward.0", math.sqrt(6 / 16)),
        ("feed_forward.2", gain * math.sqrt(6 / 80)),
    ):
        for block in range(blocks):
            greatest = state[f"blocks.{block}.{name}.weight"].abs().max().item()
            assert greatest == pytest.approx(ends, rel=0.1)
            assert greatest <= ends


def test_masks_are_the_attention(decoder: TokenTransformer, slots: Tensor) -> None:
    attention = torch.rand(5, 3, 4, 4)
    assert torch.equal(decoder.soft_masks(slots, attention), attention)


def test_slots_have_to_divide_into_heads() -> None:
    with pytest.raises(ConfigError, match="16 does not divide into the decoder's 3 heads"):
        TokenTransformer(Dvae(8, CODES), grid=GRID, slot_dim=16, blocks=1, heads=3)
