"""What may be imported: every common kind of file, each tensor under a name of its own."""

from pathlib import Path

import pytest
import torch
from authors_weights import (
    SMALL_DVAE,
    SMALL_MODELS,
    authors_state_dict,
    parse,
    stored_beside,
    weight,
    write,
)
from torch import Tensor

from slotcli.build import build
from slotcli.checkpoint import DEFINITION, find_model
from slotcli.definition import load_definition
from slotcli.errors import ConfigError, DataError
from slotcli.published import import_published, published_names
from slotcli.spec import CodecModelSpec, SlotModelSpec

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("definition", "count"),
    [
        ("slotdiffusion-movi-d", 988),
        ("slotdiffusion-clevrtex", 964),
        ("savi-movi-e", 107),
        ("slot-attention-celeba", 83),
        ("steve-movi-d", 298),
        ("slate-clevrtex", 274),
        ("vqvae-movi-d", 205),
        ("dvae-movi-d", 52),
    ],
)
def test_every_tensor_has_a_name_of_its_own(definition: str, count: int) -> None:
    names = published_names(load_definition(find_model(definition) / DEFINITION))
    assert len(names) == len(set(names.values())) == count


@pytest.mark.parametrize(
    ("image", "video"),
    [
        ("slot-attention-clevrtex", "savi-movi-d"),
        ("slate-clevrtex", "steve-movi-d"),
        ("slotdiffusion-clevrtex", "slotdiffusion-movi-d"),
    ],
)
def test_image_models_lack_the_predictor_and_nothing_else(image: str, video: str) -> None:
    of_image, of_video = (
        published_names(load_definition(find_model(name) / DEFINITION)) for name in (image, video)
    )
    kept = {own: name for own, name in of_video.items() if not name.startswith("predictor.")}
    assert of_image == kept
    assert len(of_video) == len(kept) + 24


def test_a_part_that_the_authors_lack_is_named() -> None:
    spec = load_definition(find_model("tiny-64") / DEFINITION)
    with pytest.raises(ConfigError, match=r"decoder\.null, decoder\.unet\.position"):
        published_names(spec)


def check_small(path: Path, spec: SlotModelSpec | CodecModelSpec) -> list[str]:
    """Imports, checks every value, returns what was dropped."""
    tensors, report = import_published(path, spec)
    names = published_names(spec)
    assert report.mapped == len(tensors) == len(names)
    for own, name in names.items():
        assert torch.equal(tensors[own], weight(name, tuple(tensors[own].shape)))
    build(spec).load_state_dict(tensors)
    return report.dropped


@pytest.mark.parametrize("suffix", [".pth", ".PT", ".safetensors", ".npz"])
def test_every_kind_of_file_gives_the_same(
    suffix: str, tmp_path: Path, small: SlotModelSpec, theirs: dict[str, Tensor]
) -> None:
    path = tmp_path / f"weights{suffix}"
    write(path, theirs)
    assert check_small(path, small) == []


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_trainer_checkpoints_and_parallel_prefixes_are_unwrapped(
    key: str, tmp_path: Path, small: SlotModelSpec, theirs: dict[str, Tensor]
) -> None:
    path = tmp_path / "model_3.pth"
    wrapped = {f"module.{name}": torch.nn.Parameter(value) for name, value in theirs.items()}
    torch.save({key: wrapped, "opt_state_dict": {"state": {}, "param_groups": []}, "it": 3}, path)
    assert check_small(path, small) == []


def test_half_precision_comes_over_as_float32(tmp_path: Path, small_codec: CodecModelSpec) -> None:
    path = tmp_path / "half.pth"
    halves = {name: value.half() for name, value in authors_state_dict(small_codec).items()}
    torch.save(halves, path)
    tensors, _ = import_published(path, small_codec)
    names = published_names(small_codec)
    assert all(torch.equal(tensors[own], halves[name].float()) for own, name in names.items())


@pytest.mark.parametrize("prefix", ["", "dvae.", "module.dvae."])
def test_a_dvae_comes_alone(prefix: str, tmp_path: Path) -> None:
    spec, path = parse(SMALL_DVAE), tmp_path / "dvae.pth"
    torch.save({prefix + name: value for name, value in authors_state_dict(spec).items()}, path)
    assert check_small(path, spec) == []


@pytest.mark.parametrize("prefix", ["", "vqvae."])
def test_a_vqvae_comes_without_its_loss(
    prefix: str, tmp_path: Path, small_codec: CodecModelSpec
) -> None:
    path = tmp_path / "vqvae.pth"
    tensors = authors_state_dict(small_codec)
    tensors["loss.perceptual_loss.lin0.model.1.weight"] = torch.zeros(1, 64, 1, 1)
    torch.save({prefix + name: value for name, value in tensors.items()}, path)
    assert check_small(path, small_codec) == ["loss.perceptual_loss.lin0.model.1.weight"]


@pytest.mark.parametrize("kind", SMALL_MODELS)
def test_what_is_derived_is_dropped(kind: str, tmp_path: Path) -> None:
    spec, path = parse(SMALL_MODELS[kind]), tmp_path / "full.safetensors"
    stored = stored_beside(spec)
    write(path, authors_state_dict(spec) | stored)
    assert check_small(path, spec) == sorted(stored)


def averages_of(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the authors' code stores them: without dots, beside their decay and age."""
    averages = {
        "dm_decoder.model_ema." + name.removeprefix("dm_decoder.model.").replace(".", ""): value + 1
        for name, value in theirs.items()
        if name.startswith("dm_decoder.model.")
    }
    ages = {"decay": torch.tensor(0.9999), "num_updates": torch.tensor(7, dtype=torch.int32)}
    return averages | {f"dm_decoder.model_ema.{name}": value for name, value in ages.items()}


def test_moving_averages_are_taken_where_there_are_any(
    tmp_path: Path, small: SlotModelSpec, theirs: dict[str, Tensor]
) -> None:
    averages, path = averages_of(theirs), tmp_path / "averaged.pth"
    assert "dm_decoder.model_ema.diffusion_modeltime_embed0weight" in averages
    torch.save(theirs | averages, path)
    tensors, report = import_published(path, small)
    replaced = {name for name in theirs if name.startswith("dm_decoder.model.")}
    for own, name in published_names(small).items():
        assert torch.equal(tensors[own], theirs[name] + (1 if name in replaced else 0)), own
    assert (report.mapped, report.averaged) == (len(theirs), len(replaced))
    ages = {"dm_decoder.model_ema.decay", "dm_decoder.model_ema.num_updates"}
    assert report.dropped == sorted(replaced | ages)
    del averages["dm_decoder.model_ema.diffusion_modeltime_embed0bias"]
    averages["dm_decoder.model_ema.odd"] = torch.zeros(1)
    torch.save(theirs | averages, path)
    with pytest.raises(DataError) as raised:
        import_published(path, small)
    assert "1 missing (dm_decoder.model_ema.diffusion_modeltime_embed0bias)" in raised.value.what
    assert "1 unknown (dm_decoder.model_ema.odd)" in raised.value.what
