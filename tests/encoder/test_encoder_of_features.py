"""What the encoders of the published models on a frozen transformer have, and others have not."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slotcli.build import build_model
from slotcli.encoder.encoder import SlotEncoder
from slotcli.encoder.initial_slots import GaussianSlots
from slotcli.encoder.slot_attention import SlotAttention
from slotcli.spec import SlotModelSpec


def textbook(
    corrector: SlotAttention, slots: Tensor, features: Tensor, iterations: int, eps: float
) -> tuple[Tensor, Tensor]:
    """Slot attention as the authors of SlotContrast wrote it: the GRU's state is normalised."""
    inputs = corrector.norm_inputs(features)
    keys, values = corrector.keys(inputs), corrector.values(inputs)
    attention = slots.new_empty(0)
    for _ in range(iterations):
        slots = corrector.norm_slots(slots)
        logits = corrector.queries(slots) @ keys.mT * slots.shape[-1] ** -0.5
        attention = logits.softmax(1)
        weights = (attention + eps) / (attention + eps).sum(2, keepdim=True)
        update = weights @ values
        slots = corrector.gru(update.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
        if corrector.mlp is not None:
            slots = slots + corrector.mlp(slots)
    return slots, attention


@torch.no_grad()
@pytest.mark.parametrize("mlp", [0, 2, 4])
@pytest.mark.parametrize("eps", [1e-8, 0.1])
def test_the_corrector_with_a_normalised_state(mlp: int, eps: float) -> None:
    torch.manual_seed(0)
    own = SlotAttention(8, normalised_state=True, mlp=mlp, eps=eps).double()
    # Untrained norms do nothing that a second one would not undo.
    for norm in (own.norm_slots, own.norm_inputs):
        norm.weight.normal_(1, 0.5)
        norm.bias.normal_(0, 0.5)
    slots, features = torch.randn(2, 3, 8).double() * 4, torch.randn(2, 11, 8).double()
    wanted = textbook(own, slots, features, 3, eps)
    found = own(slots, features, own.statistics(features), 3)
    torch.testing.assert_close(found, wanted, atol=1e-9, rtol=1e-9)
    assert (own.mlp is None) == (mlp == 0)
    own.normalised_state = False
    raw, _ = own(slots, features, own.statistics(features), 3)
    assert (raw - wanted[0]).norm() > 0.05 * wanted[0].norm()


@pytest.fixture
def encoders(feature_specs: dict[str, SlotModelSpec]) -> dict[str, SlotEncoder]:
    torch.manual_seed(0)
    return {name: build_model(spec).encoder.eval() for name, spec in feature_specs.items()}


@torch.no_grad()
def test_the_readout_is_wider_and_adds_no_positions(encoders: dict[str, SlotEncoder]) -> None:
    encoder = encoders["patch_mlp"]
    assert [tuple(p.shape) for p in encoder.readout.parameters() if p.dim() == 2] == [
        (32, 16),
        (16, 32),
    ]
    frames = torch.rand(1, 1, 3, 28, 28) * 2 - 1
    maps = encoder.backbone(frames[0])
    wanted = encoder.readout(maps.flatten(2).transpose(1, 2))
    torch.testing.assert_close(encoder.features(frames)[0], wanted, rtol=0, atol=0)


@torch.no_grad()
def test_drawn_slots_are_a_function_of_the_seed(encoders: dict[str, SlotEncoder]) -> None:
    encoder = encoders["slot_mixer"]
    assert encoder.initial is not None
    frames = torch.rand(2, 2, 3, 28, 28) * 2 - 1
    first = encoder(frames).slots
    torch.rand(5)  # whatever else was drawn meanwhile
    assert torch.equal(encoder(frames).slots, first)
    # A clip is the same beside others as alone.
    torch.testing.assert_close(encoder(frames[1:]).slots, first[1:], atol=1e-6, rtol=1e-5)
    encoder.initial.seed = 1
    assert (encoder(frames).slots - first).abs().max() > 1e-3
    encoder.num_slots = 5
    assert encoder(frames).slots.shape == (2, 2, 5, 16)


def test_drawn_slots_have_the_learned_mean_and_deviation() -> None:
    torch.manual_seed(0)
    initial = GaussianSlots(4, 0.5)
    with torch.no_grad():
        initial.mean.copy_(torch.tensor([1.0, -2.0, 0.0, 5.0]))
    slots = initial.train()(50, 40)
    assert not torch.equal(slots[0], slots[1])  # in training every clip has its own
    torch.testing.assert_close(slots.mean((0, 1)), initial.mean[0, 0], atol=0.06, rtol=0)
    torch.testing.assert_close(slots.std((0, 1)), torch.full((4,), 0.5), atol=0.04, rtol=0)
    slots.sum().backward()
    assert initial.mean.grad is not None
    assert initial.log_std.grad is not None


def test_features_are_kept_for_the_decoder_in_training_alone(
    encoders: dict[str, SlotEncoder],
) -> None:
    frames = torch.rand(1, 2, 3, 28, 28) * 2 - 1
    for name, encoder in encoders.items():
        encoder.backbone.requires_grad_(False)
        track = encoder(frames)
        assert track.features is not None
        torch.testing.assert_close(track.features[0], encoder.backbone(frames[0])[:, :16])
        assert (track.keys is not None) == (name == "slot_mixer")
        assert not track.features.requires_grad
        assert track.slots.requires_grad
        with torch.no_grad():
            plain = encoder(frames)
        assert plain.features is plain.keys is None
        torch.testing.assert_close(plain.slots, track.slots, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_imagenets_statistics_are_applied(encoders: dict[str, SlotEncoder]) -> None:
    vit = encoders["patch_mlp"].backbone
    grey = torch.tensor([0.485, 0.456, 0.406]) * 2 - 1  # ImageNet's mean colour
    frames = grey[None, :, None, None].expand(1, 3, 28, 28)
    zero = torch.zeros(1, 3, 28, 28)
    embedded = vit.patch_embed.proj(zero).flatten(2).transpose(1, 2)
    torch.testing.assert_close(
        vit._embedded(frames)[:, 1:], embedded + vit.pos_embed[:, 1:], atol=1e-5, rtol=1e-5
    )
    assert F.mse_loss(vit._embedded(frames), vit._embedded(zero)) > 1e-4
