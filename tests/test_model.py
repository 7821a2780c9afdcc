"""The whole model, and the published models' sizes to the last parameter."""

import shutil
from pathlib import Path

import pytest
import torch
from model_sizes import counted
from torch import nn

from slotcli.build import build, build_model
from slotcli.checkpoint import DEFINITION, model_folders
from slotcli.commands.model_sizes import SIZES, parameters_of
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.definition import load_definition
from slotcli.errors import ConfigError
from slotcli.model import SlotModel, denormalise, normalise
from slotcli.spec import SlotModelSpec

pytestmark = pytest.mark.slow


def count(module: nn.Module, trainable_only: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


def definition(name: str) -> SlotModelSpec:
    folder = next(folder for folder in model_folders() if folder.name == name)
    spec = load_definition(folder / DEFINITION)
    assert isinstance(spec, SlotModelSpec)
    return spec


@pytest.mark.parametrize("name", ["slotdiffusion-movi-d", "slotdiffusion-movi-e"])
def test_published_parameter_counts(name: str) -> None:
    """Counts of the authors' own classes for the MOVi configurations."""
    with torch.device("meta"):
        model = build_model(definition(name))
    encoder, decoder = model.encoder, model.decoder
    assert isinstance(decoder, LatentDiffusion)
    assert isinstance(decoder.codec, nn.Module)
    assert encoder.predictor is not None
    assert {
        "total": count(model),
        "trainable": count(model, trainable_only=True),
        "unet": count(decoder.unet),
        "codec": count(decoder.codec),
        "backbone": count(encoder.backbone),
        "position": count(encoder.position),
        "readout": count(encoder.readout),
        "slot attention": count(encoder.corrector),
        "predictor": count(encoder.predictor),
        "initial slots": encoder.initial_slots.numel(),
    } == {
        "total": 152_339_233,
        "trainable": 138_481_347,
        "unet": 134_243_331,
        "codec": 13_857_886,
        "backbone": 2_775_104,
        "position": 1_280,
        "readout": 86_912,
        "slot attention": 482_112,
        "predictor": 889_728,
        "initial slots": 2_880,
    }


# Total and trainable, counted in the authors' own classes. Theirs counts 8,388,608 booleans of
# causal masks as parameters of SLATE and STEVE; ours has none, and none is counted here.
_COUNTS = {
    "slotdiffusion-clevrtex": (151_448_737, 137_590_851),
    "slotdiffusion-celeba": (151_447_393, 137_589_507),
    "savi-movi-d": (4_853_892, 4_853_892),
    "savi-movi-e": (4_853_892, 4_853_892),
    "steve-movi-d": (19_851_139 - 8_388_608, 10_780_608),
    "steve-movi-e": (19_851_139 - 8_388_608, 10_780_608),
    "slot-attention-clevrtex": (5_192_708, 5_192_708),
    "slot-attention-celeba": (5_191_364, 5_191_364),
    "slate-clevrtex": (18_960_643 - 8_388_608, 9_890_112),
    "slate-celeba": (18_959_299 - 8_388_608, 9_888_768),
} | {
    f"{kind}-{data}": (number, number)
    for kind, number in (("vqvae", 13_857_886), ("dvae", 681_923))
    for data in ("clevrtex", "celeba", "movi-d", "movi-e")
}


@pytest.mark.parametrize("name", _COUNTS)
def test_every_published_model_has_the_authors_parameters(name: str) -> None:
    folder = next(folder for folder in model_folders() if folder.name == name)
    with torch.device("meta"):
        model = build(load_definition(folder / DEFINITION))
    assert (count(model), count(model, trainable_only=True)) == _COUNTS[name]


def test_the_recorded_sizes_are_those_of_the_definitions() -> None:
    recorded = (model_folders()[0].parent / SIZES).read_text()
    assert counted() == recorded, "run: python tests/model_sizes.py"


def test_a_changed_definition_is_counted_anew(tmp_path: Path) -> None:
    folder = tmp_path / "dvae-movi-d"
    shutil.copytree(next(own for own in model_folders() if own.name == folder.name), folder)
    (tmp_path / SIZES).write_text('{"dvae-movi-d": {"definition": "another", "parameters": 1}}')
    assert parameters_of(folder, load_definition(folder / DEFINITION)) == 681_923


@pytest.mark.parametrize("size", [(34, 32), (32, 30)])
def test_a_size_that_does_not_divide_is_refused(
    tiny_slot_spec: SlotModelSpec, size: tuple[int, int]
) -> None:
    with pytest.raises(ConfigError, match="does not divide by 4"):
        build_model(tiny_slot_spec.model_copy(update={"size": size}))


def test_encoding_takes_bytes_and_carries_its_state(tiny_slot_spec: SlotModelSpec) -> None:
    torch.manual_seed(0)
    model = build_model(tiny_slot_spec).eval()
    frames = torch.randint(256, (2, 3, 3, 32, 32), dtype=torch.uint8)
    whole = model.encode(frames)
    assert whole.attention.shape == (2, 3, 3, 16, 16)
    rest = model.encode(frames[:, 1:], whole.slots[:, 0])
    torch.testing.assert_close(rest.slots, whole.slots[:, 1:], atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(model.encoder(normalise(frames)).slots, whole.slots)


def test_the_loss_reaches_every_trainable_parameter(tiny_slot_spec: SlotModelSpec) -> None:
    torch.manual_seed(0)
    model: SlotModel = build_model(tiny_slot_spec).train()
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    frames = torch.rand(2, 3, 3, 32, 32) * 2 - 1
    target = model.decoder.target(frames.flatten(0, 1))
    slots = model.encoder(frames).slots.flatten(0, 1)
    model.decoder.loss(slots, target).backward()
    idle = [
        name
        for name, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert idle == []


def test_bytes_survive_normalisation() -> None:
    values = torch.arange(256, dtype=torch.uint8).repeat(3, 1)[None, :, :, None]
    signal = normalise(values)
    assert (signal.min().item(), signal.max().item()) == (-1, 1)
    assert torch.equal(denormalise(signal), values)
    beyond = torch.tensor([-3.0, 3.0]).view(1, 1, 2).expand(3, 1, 2)
    assert denormalise(beyond)[0, 0].tolist() == [0, 255]
