"""What may be imported: every common kind of file, each tensor under a name of its own."""

from pathlib import Path

import pytest
import torch
from authors_weights import authors_state_dict, weight, write
from torch import Tensor

from slotcli.build import build
from slotcli.checkpoint import DEFINITION, find_model
from slotcli.errors import ConfigError
from slotcli.published import import_published, published_names
from slotcli.spec import CodecModelSpec, SlotModelSpec, load_definition


@pytest.mark.parametrize(
    ("definition", "count"),
    [("slotdiffusion-movi-d", 988), ("slotdiffusion-movi-e", 988), ("vqvae-movi-d", 205)],
)
def test_every_tensor_has_a_name_of_its_own(definition: str, count: int) -> None:
    names = published_names(load_definition(find_model(definition) / DEFINITION))
    assert len(names) == len(set(names.values())) == count


def test_a_part_that_the_authors_lack_is_named() -> None:
    spec = load_definition(find_model("tiny-64") / DEFINITION)
    with pytest.raises(ConfigError, match=r"decoder\.null, encoder\.backbone\.coarse"):
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


@pytest.mark.parametrize("prefix", ["", "vqvae."])
def test_a_codec_comes_without_its_loss(
    prefix: str, tmp_path: Path, small_codec: CodecModelSpec
) -> None:
    path = tmp_path / "vqvae.pth"
    tensors = authors_state_dict(small_codec)
    tensors["loss.perceptual_loss.lin0.model.1.weight"] = torch.zeros(1, 64, 1, 1)
    torch.save({prefix + name: value for name, value in tensors.items()}, path)
    assert check_small(path, small_codec) == ["loss.perceptual_loss.lin0.model.1.weight"]


def test_what_is_derived_is_dropped(
    tmp_path: Path, small: SlotModelSpec, theirs: dict[str, Tensor]
) -> None:
    path = tmp_path / "full.pth"
    axis = torch.linspace(0, 1, 8)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    betas = torch.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
    derived = {
        "dm_decoder.alphas_bar": torch.cumprod(1 - betas, 0),
        "dm_decoder.betas": betas,
        "encoder_pos_embedding.grid": torch.stack([y, x, 1 - y, 1 - x], -1)[None],
    }
    torch.save(theirs | derived, path)
    assert check_small(path, small) == sorted(derived)
