"""SlotContrast, VideoSAUR, DINOSAUR: the authors' weights compute here what their code computes.

The fixtures are described in fixtures/README.md. By default one network with each decoder runs:
SlotContrast whole, and of VideoSAUR all but the backbone, which tests/encoder/test_vit.py compares
with timm's. With SLOTCLI_PARITY=all all five run whole, which takes minutes.
"""

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from feature_weights import FIXTURES, MODELS, error, frames, normal_input, state
from safetensors.torch import load_file
from torch import Tensor

from slotcli.build import build_model
from slotcli.checkpoint import find_definition
from slotcli.decoders.patch_mlp import PatchMlp
from slotcli.decoders.slot_mixer import SlotMixer
from slotcli.definition import load_definition
from slotcli.encoder.predictor import HEADS
from slotcli.model import SlotModel
from slotcli.published import import_published
from slotcli.spec import SlotModelSpec
from slotcli.training.auxiliary.contrast import slot_contrast
from slotcli.training.auxiliary.features import feature_losses, similarity_loss, time_similarity
from slotcli.types import SlotTrack

pytestmark = pytest.mark.slow

# Every how many patches were kept; of reconstructions every 8th channel, of keys every 4th.
STEPS = {
    "slotcontrast-movi-c": 17,
    "slotcontrast-ytvis": 41,
    "videosaur-movi-c": 23,
    "videosaur-ytvis-dinov2": 41,
    "dinosaur-coco": 7,
}
BOUND = 2e-5
EVERY = os.environ.get("SLOTCLI_PARITY") == "all"
WHOLE = MODELS if EVERY else ["slotcontrast-movi-c"]
PARTLY = ["videosaur-movi-c", "videosaur-ytvis-dinov2"]


def fixture(model: str) -> dict[str, Tensor]:
    return load_file(FIXTURES / f"parity_{model.replace('-', '_')}.safetensors")


def imported(name: str, *, with_backbone: bool) -> SlotModel:
    spec = load_definition(find_definition(name))
    assert isinstance(spec, SlotModelSpec)
    tensors, report = import_published(Path("made"), spec, state(name, with_backbone=with_backbone))
    assert report.dropped == []
    with torch.device("meta"):
        model = build_model(spec)
    model.load_state_dict(tensors, assign=True)
    model.encoder.backbone.requires_grad_(False)
    initial = model.encoder.initial
    if initial is not None:
        noise = normal_input("slot_noise", 1, spec.num_slots, spec.slot_dim)
        initial.noise = lambda clips, slots: noise.expand(clips, -1, -1)
    return model.eval()


def differences(model: SlotModel, slots: Tensor, name: str) -> dict[str, float]:
    """What decoder and predictor make of slots, against the fixture."""
    wanted, step = fixture(name), STEPS[name]
    decoder = model.decoder
    assert isinstance(decoder, PatchMlp | SlotMixer)
    # One frame is enough for what sees frames one by one, and takes seconds.
    (masks,) = decoder.soft_masks(slots[2:], torch.empty(1, 0, 0, 0))
    hard = F.interpolate(masks[None], size=(64, 64), mode="bilinear").argmax(1)[0]
    assert (hard != wanted["hard_masks_frame2_64px"]).sum() <= 4
    made = decoder.reconstruction(slots[2:])[0, ::step, ::8]
    found = {
        "decoder_masks": error(masks.flatten(1), wanted["decoder_masks"][2]),
        "reconstruction_frame2": error(made, wanted["reconstruction_frame2"]),
    }
    if model.encoder.predictor is not None:
        predicted = model.encoder.predictor(slots)
        found["predicted_slots"] = error(predicted, wanted["predicted_slots"])
    return found


@torch.no_grad()
@pytest.mark.parametrize("name", PARTLY)
def test_decoder_and_predictor_agree_with_the_authors(name: str) -> None:
    model, wanted = imported(name, with_backbone=False), fixture(name)
    assert error(model.encoder.first_guess(1)[0], wanted["initial_slots"]) < 1e-6
    for key, value in differences(model, wanted["slots"], name).items():
        assert value < BOUND, key
    assert model.encoder.predictor is not None
    # Logits divided, as in a textbook, give no error, and other slots and masks.
    divide(model.encoder.predictor.transformer.layers[0].self_attn.in_proj_weight)
    divide(model.encoder.predictor.transformer.layers[0].self_attn.in_proj_bias)
    assert error(model.encoder.predictor(wanted["slots"]), wanted["predicted_slots"]) > 0.01
    assert isinstance(model.decoder, SlotMixer)
    for block in model.decoder.allocator:
        divide(block.self_attn.qkv.weight)
        divide(block.self_attn.qkv.bias)
    masks = model.decoder.allocation(wanted["slots"]).transpose(1, 2)
    assert error(masks, wanted["decoder_masks"]) > 0.01


def divide(projection: Tensor) -> None:
    """Takes the scale off the queries of a projection to queries, keys and values."""
    width = len(projection) // 3
    projection[:width] /= width // HEADS


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_network_agrees_with_the_authors(name: str) -> None:
    model, wanted, step = imported(name, with_backbone=True), fixture(name), STEPS[name]
    encoder, decoder = model.encoder, model.decoder
    clip = frames(model.size[0])
    # DINOSAUR's three images do not follow each other.
    track = encoder(clip if encoder.predictor is not None else clip.transpose(0, 1))
    assert track.features is not None
    width = encoder.backbone.width
    tokens = track.features.flatten(0, 1)[0].flatten(1).T[::step]
    slots = track.slots.flatten(0, 1).detach()
    found = {
        "block12_tokens_frame0": tokens,
        "readout_frame0": encoder.readout(tokens),
        "initial_slots": encoder.first_guess(1)[0],
        "slots": slots,
        "grouping_attention_frame2": track.attention.flatten(0, 1)[2].flatten(1),
    }
    if track.keys is not None:
        assert track.keys.shape[2] == width
        keys = track.keys.flatten(0, 1)[0].flatten(1).T
        found["block12_keys_frame0"] = keys[::step, ::4]
    for key, value in found.items():
        assert error(value, wanted[key]) < BOUND, key
    with torch.no_grad():
        for key, value in differences(model, slots, name).items():
            assert value < 2 * BOUND, key
        spec = load_definition(find_definition(name))
        assert isinstance(spec, SlotModelSpec)
        losses = feature_losses(decoder, track, spec.train.similarity_temperature)
        if "loss_ss" in wanted:
            losses["ss"] = slot_contrast(track.slots)
    names = {"features": "loss_featrec", "similarity": "loss_timesim", "ss": "loss_ss"}
    weights = {
        "features": 1.0,
        "similarity": spec.train.similarity_weight,
        "ss": spec.train.contrast_weight,
    }
    for term, value in losses.items():
        assert float(value.detach()) == pytest.approx(wanted[names[term]].item(), rel=1e-5), term
    total = sum(weights[term] * value for term, value in losses.items())
    assert float(total.detach()) == pytest.approx(wanted["loss_total"].item(), rel=1e-5)


def loss_inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Keys, logits and slots of two clips of three frames."""
    keys = normal_input("loss_keys", 2, 3, 49, 32)
    keys[0, 1] += 1
    keys[0, 0, 0] = -1
    return (
        keys,
        normal_input("loss_logits", 2, 3, 49, 49),
        normal_input("loss_slots", 2, 3, 5, 16),
    )


def test_losses_of_pairs_agree_with_the_authors() -> None:
    keys, logits, slots = loss_inputs()
    wanted = load_file(FIXTURES / "parity_slot_losses.safetensors")
    temperatures = [key for key in wanted if key.startswith("time_similarity_0")]
    assert len(temperatures) >= 2
    for key in temperatures:
        target = time_similarity(keys, float(key.rpartition("_")[2]))
        assert similarity_loss(logits[:, :-1], target).item() == pytest.approx(
            wanted[key].item(), rel=1e-6
        )
    target = time_similarity(keys, 0.15)[0]
    assert error(target, wanted["time_similarity_target_0.15"]) < 1e-6
    assert target[0, 0].tolist() == pytest.approx([1 / 49] * 49)
    assert slot_contrast(slots).item() == pytest.approx(
        wanted["contrast_both_clips"].item(), rel=1e-6
    )
    each = sum(slot_contrast(clip[None]).item() for clip in slots) / 2
    assert each == pytest.approx(wanted["contrast_within_clips"].item(), rel=1e-6)
    # The other direction, of which the paper's formula reads, is another loss.
    backwards = slot_contrast(slots.flip(1)).item()
    assert abs(backwards / wanted["contrast_both_clips"].item() - 1) > 1e-3


def test_a_track_without_features_teaches_no_decoder() -> None:
    decoder = PatchMlp(grid=(2, 2), slot_dim=4, features=3, channels=4, layers=1)
    with pytest.raises(ValueError, match="keeps the backbone's features"):
        feature_losses(decoder, SlotTrack(torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 2, 2)), 1)
