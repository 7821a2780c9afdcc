"""slotcli models import of a Lightning checkpoint: which model it is, and what it may hold."""

import functools
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from feature_weights import MODELS, SHAPES

from slotcli.build import build_shapes
from slotcli.checkpoint import DEFINITION, find_definition, load_model, model_folders, read_tensors
from slotcli.definition import definition_text, load_definition
from slotcli.errors import DataError
from slotcli.published import import_published, published_names, recognised
from slotcli.spec import SlotModelSpec

pytestmark = pytest.mark.slow

Cli = Callable[..., tuple[int, str, str]]
# Tensors, and parameters in millions, counted in the authors' own classes.
COUNTS = {
    "slotcontrast-movi-c": (217, 25.12),
    "slotcontrast-movi-e": (217, 91.53),
    "slotcontrast-ytvis": (217, 91.02),
    "slotcurri-movi-c": (217, 25.12),
    "slotcurri-movi-e": (217, 91.53),
    "slotcurri-ytvis": (217, 91.02),
    "videosaur-movi-c": (222, 92.15),
    "videosaur-movi-e": (222, 92.15),
    "videosaur-ytvis": (232, 90.49),
    "videosaur-ytvis-dinov2": (256, 92.55),
    "dinosaur-coco": (206, 99.83),
}


def definition(name: str) -> SlotModelSpec:
    spec = load_definition(find_definition(name))
    assert isinstance(spec, SlotModelSpec)
    return spec


@pytest.mark.parametrize("name", COUNTS)
def test_tensors_and_parameters_are_the_authors(name: str) -> None:
    model = build_shapes(definition(name))
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert (len(model.state_dict()), round(millions, 2)) == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_definitions_have_what_no_shape_shows(name: str) -> None:
    """Each of these gives other slots from the same weights, and no error."""
    spec = definition(name)
    encoder, clips = spec.encoder, name != "dinosaur-coco"
    iterations = encoder.first_iterations, encoder.iterations
    assert (encoder.gru_state, encoder.read_eps, encoder.positions) == ("normalised", 1e-8, False)
    assert iterations == ((3, 2) if clips else (3, 3))
    assert (encoder.predictor is not None) == clips
    if encoder.predictor is not None:
        assert (encoder.predictor.dropout, encoder.predictor.identity_start) == (0, False)
    contrasts = name.startswith(("slotcontrast", "slotcurri"))
    assert (spec.train.contrast_weight, spec.train.similarity_weight) == (
        0.5 if contrasts else 0,
        0.1 if name.startswith("videosaur") else 0,
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_is_recognised_by_its_tensors(name: str) -> None:
    spec = definition(name)
    names, shapes = published_names(spec), build_shapes(spec).state_dict()
    assert {names[own]: list(shapes[own].shape) for own in names} == SHAPES[name]
    # Shapes suffice, so the tensors need no memory.
    theirs = {key: torch.empty(shape, device="meta") for key, shape in SHAPES[name].items()}
    found = [path.parent.name for path in recognised(theirs, Path("some.ckpt"))]
    twins = {
        "slotcontrast-movi-c": ["slotcurri-movi-c"],
        "slotcontrast-ytvis": ["slotcurri-ytvis"],
        "videosaur-movi-c": ["videosaur-movi-e"],
    }
    assert found == [name, *twins.get(name, [])]
    with pytest.raises(DataError, match="no definition here has exactly these"):
        recognised({**theirs, "extra": torch.zeros(1)}, Path("some.ckpt"))


def lightning(spec: SlotModelSpec) -> dict:
    """A checkpoint as PyTorch Lightning writes it."""
    torch.manual_seed(1)
    own = build_shapes(spec).state_dict()
    names = published_names(spec)
    weights = OrderedDict((names[key], torch.randn(value.shape)) for key, value in own.items())
    return {
        "epoch": 649,
        "global_step": 100_000,
        "pytorch-lightning_version": "1.8.6",
        "state_dict": weights,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"kth_value": torch.tensor(0.0)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}],
        "lr_schedulers": [{"lr_lambdas": [{}]}],
    }


@pytest.mark.parametrize("name", ["patch_mlp", "slot_mixer"])
def test_import_scales_the_queries_and_accounts_for_every_tensor(
    name: str, feature_specs: dict[str, SlotModelSpec], tmp_path: Path, cli: Cli
) -> None:
    spec = feature_specs[name]
    source, toml, out = tmp_path / "last.ckpt", tmp_path / DEFINITION, tmp_path / "model"
    content = lightning(spec)
    torch.save(content, source)
    toml.write_text(definition_text(spec))
    code, printed, said = cli(
        "--json", "models", "import", source, "--definition", toml, "--out", out
    )
    assert code == 0, said
    facts = json.loads(printed)
    theirs, names = content["state_dict"], published_names(spec)
    # weight and bias of the predictor's attention, and of both blocks of the mixer's
    scaled = 2 if name == "patch_mlp" else 6
    assert (facts["mapped"], facts["dropped"], facts["scaled"]) == (len(theirs), [], scaled)
    ours, _ = read_tensors(out / "weights.safetensors")
    differing = {own for own in ours if not torch.equal(ours[own], theirs[names[own]])}
    assert len(differing) == scaled
    for own in differing:
        factors = ours[own] / theirs[names[own]]
        assert set(factors[:16].flatten().tolist()) == {4.0}  # the width of each of 4 heads
        assert set(factors[16:].flatten().tolist()) == {1.0}
    assert load_model(str(out)).spec == spec

    del theirs["initializer.mean" if name == "slot_mixer" else "initializer.slots"]
    torch.save(content, source)
    with pytest.raises(DataError, match="1 missing"):
        import_published(source, spec)


def test_a_class_in_a_checkpoint_is_named_and_never_run(
    feature_specs: dict[str, SlotModelSpec], tmp_path: Path, cli: Cli
) -> None:
    source = tmp_path / "last.ckpt"
    content = lightning(feature_specs["patch_mlp"])
    content["hyper_parameters"] = functools.partial(print, "run")
    torch.save(content, source)
    code, printed, said = cli("models", "import", source, "--out", tmp_path / "model")
    assert code == 65
    lines = said.strip().splitlines()
    assert "functools.partial" in lines[0]
    assert "weights_only=False" in lines[1]
    assert "run" not in printed
    assert not (tmp_path / "model").exists()
    # What the second line says to type makes a file that can be read.
    torch.save(torch.load(source, weights_only=False)["state_dict"], tmp_path / "weights.pth")
    import_published(tmp_path / "weights.pth", feature_specs["patch_mlp"])


def test_every_model_on_a_transformer_is_counted() -> None:
    specs = {folder.name: load_definition(folder / DEFINITION) for folder in model_folders()}
    on_vit = {
        name
        for name, spec in specs.items()
        if isinstance(spec, SlotModelSpec) and spec.encoder.backbone.kind == "vit"
    }
    assert on_vit == COUNTS.keys()
