"""The authors' weights compute under our names what they compute in the authors' code.

The parity fixture is described in fixtures/README.md.
"""

import hashlib
import json
import os
import pickle
import tomllib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from slotcli.build import build, build_model
from slotcli.checkpoint import DEFINITION, WEIGHTS, find_model, load_model, read_tensors
from slotcli.commands import console, models
from slotcli.diffusion.denoiser import clean_signal
from slotcli.diffusion.samplers import sample
from slotcli.errors import CannotCreateError, ConfigError, DataError, NoInputError
from slotcli.model import SlotModel
from slotcli.published import import_published, published_names
from slotcli.spec import CodecModelSpec, SlotModelSpec, load_definition, parse_spec

FIXTURE = Path(__file__).parent / "fixtures" / "parity_slotdiffusion.safetensors"

SMALL_MODEL = """
kind = "slot_model"
name = "small"
size = [32, 32]
num_slots = 3
slot_dim = 32
encoder = { backbone = { kind = "resnet18" }, predictor = { layers = 1 } }

[decoder]
kind = "latent_diffusion"
channels = 32
multipliers = [1, 2]
res_blocks = 1
codec = { channels = 16, multipliers = [1, 2], res_blocks = 1, num_codes = 16 }

[train]
codec = "none"
steps = 1
batch_size = 1
learning_rate = 1e-3
decoder_learning_rate = 1e-3
"""
SMALL_CODEC = """
kind = "codec"
name = "small-codec"
size = [32, 32]
codec = { channels = 16, multipliers = [1, 2], res_blocks = 1, num_codes = 16 }
train = { steps = 1, batch_size = 1, learning_rate = 1e-3 }
"""


def draw(key: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))


def weight(name: str, shape: tuple[int, ...]) -> Tensor:
    values = draw(name).standard_normal(shape, dtype=np.float32)
    if len(shape) == 1:
        values = 1 + 0.1 * values if name.endswith("weight") else 0.1 * values
    elif name != "init_latents":
        values = values / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def authors_state_dict(spec: SlotModelSpec | CodecModelSpec) -> dict[str, Tensor]:
    with torch.device("meta"):
        own = build(spec).state_dict()
    return {
        name: weight(name, tuple(own[key].shape)) for key, name in published_names(spec).items()
    }


def normal(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(draw(f"input/{name}").standard_normal(shape, dtype=np.float32))


# Parity with the authors' code


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return load_file(FIXTURE)


@pytest.fixture(scope="module")
def published_model(tmp_path_factory: pytest.TempPathFactory) -> SlotModel:
    spec = load_definition(find_model("slotdiffusion-movi-d") / DEFINITION)
    assert isinstance(spec, SlotModelSpec)
    path = tmp_path_factory.mktemp("published") / "model_201000.pth"
    torch.save({"state_dict": authors_state_dict(spec), "it": 201000, "epoch": 30}, path)
    tensors, report = import_published(path, spec)
    path.unlink()  # 600 MB that pytest would keep
    assert (report.mapped, report.dropped) == (988, [])
    model = build_model(spec)
    model.load_state_dict(tensors)
    return model.eval().requires_grad_(False)


def difference(computed: Tensor, kept: Tensor) -> float:
    """Relative Frobenius error over the values that the fixture keeps."""
    values = computed.flatten()
    values = values if len(values) <= 10_000 else values[::13]
    assert len(values) == len(kept)
    return float((values.double() - kept.double()).norm() / kept.double().norm())


def test_encoder_agrees_with_the_authors(
    published_model: SlotModel, reference: dict[str, Tensor]
) -> None:
    frames = draw("input/frames").uniform(-1, 1, (1, 3, 3, 128, 128)).astype(np.float32)
    clip = torch.from_numpy(frames)
    track = published_model.encoder(clip)
    features = published_model.encoder.features(clip[:, :1])[0, 0]
    masks = F.interpolate(track.attention[0, 2:], size=(128, 128), mode="bilinear")[0]
    assert difference(features, reference["encoder_features_frame0"]) < 1e-5
    assert difference(track.slots, reference["slots"]) < 1e-5
    assert difference(track.attention, reference["attention"]) < 1e-5
    assert difference(masks, reference["masks_frame2_128px"]) < 1e-5


def test_codec_agrees_with_the_authors(
    published_model: SlotModel, reference: dict[str, Tensor]
) -> None:
    frames = draw("input/frames").uniform(-1, 1, (1, 3, 3, 128, 128)).astype(np.float32)
    codec = published_model.decoder.codec
    latents = codec.encode(torch.from_numpy(frames[:, 0]))
    assert difference(latents, reference["vq_latents"]) < 1e-5
    assert difference(codec.snap(latents), reference["vq_quantized"]) < 1e-5
    assert difference(codec.decode(latents), reference["vq_decoded"]) < 1e-4


def test_unet_and_schedule_agree_with_the_authors(
    published_model: SlotModel, reference: dict[str, Tensor]
) -> None:
    unet = published_model.decoder.unet
    context = unet.project_context(normal("context", 2, 15, 192))
    eps = unet(normal("latents", 2, 3, 32, 32), torch.tensor([10.0, 700.0]), context)
    assert difference(eps, reference["unet_eps"]) < 1e-5
    assert torch.equal(published_model.decoder.schedule.alphas_bar, reference["alphas_bar"])


def test_sampler_agrees_with_the_authors(
    published_model: SlotModel, reference: dict[str, Tensor]
) -> None:
    decoder = published_model.decoder
    context = decoder.unet.project_context(normal("context", 2, 15, 192)[:1])
    schedule = decoder.schedule

    def denoise(noisy: Tensor, time: float) -> Tensor:
        eps = decoder.unet(noisy, torch.tensor([schedule.model_step(time)]), context)
        return clean_signal("eps", eps, noisy, schedule.alpha(time), schedule.sigma(time))

    drawn = sample("singlestep", denoise, normal("noise", 1, 3, 32, 32), schedule, 20)
    assert difference(drawn, reference["dpm20_sample_plain"]) < 1e-4


def test_rendering_agrees_with_the_authors(
    published_model: SlotModel, reference: dict[str, Tensor]
) -> None:
    """`render` as it is used: snapped at each evaluation, then decoded."""
    decoder = published_model.decoder
    slots = normal("context", 2, 15, 192)[:1]
    frames = decoder.render(slots, normal("noise", 1, 3, 32, 32)[0], "singlestep", 20)
    latents = reference["dpm20_sample_vq_snapped"].view(1, 3, 32, 32)
    wanted = decoder.codec.decode(latents).clamp(-1, 1)
    assert float((frames - wanted).norm() / wanted.norm()) < 1e-3


# The names


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


# Files


@pytest.fixture(scope="module")
def small() -> SlotModelSpec:
    spec = parse(SMALL_MODEL)
    assert isinstance(spec, SlotModelSpec)
    return spec


@pytest.fixture(scope="module")
def small_codec() -> CodecModelSpec:
    spec = parse(SMALL_CODEC)
    assert isinstance(spec, CodecModelSpec)
    return spec


def parse(text: str) -> SlotModelSpec | CodecModelSpec:
    return parse_spec(tomllib.loads(text), "test")


@pytest.fixture
def theirs(small: SlotModelSpec) -> dict[str, Tensor]:
    return authors_state_dict(small)


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    elif path.suffix == ".npz":
        np.savez(path, allow_pickle=False, **{key: value.numpy() for key, value in tensors.items()})
    else:
        torch.save(tensors, path)


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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dm_decoder.alphas_bar", torch.cumprod(1 - torch.linspace(1e-4, 2e-2, 1000), 0)),
        ("dm_decoder.alphas_bar", torch.ones(500)),
        ("encoder_pos_embedding.grid", torch.zeros(1, 32, 32, 4)),
    ],
)
def test_another_schedule_or_frame_size_is_refused(
    name: str, value: Tensor, tmp_path: Path, small: SlotModelSpec, theirs: dict[str, Tensor]
) -> None:
    path = tmp_path / "other.pth"
    torch.save(theirs | {name: value}, path)
    with pytest.raises(DataError, match=name):
        import_published(path, small)


# Refusals


def test_unknown_missing_and_misshapen_names_are_listed(
    tmp_path: Path, small: SlotModelSpec, theirs: dict[str, Tensor]
) -> None:
    path = tmp_path / "wrong.pth"
    theirs["dm_decoder.model_ema.decay"] = torch.zeros(())
    del theirs["slot_attention.gru.bias_hh"]
    theirs["encoder.conv1.weight"] = torch.zeros(64, 3, 5, 5)
    theirs["init_latents"] = torch.zeros(1, 3, 32, dtype=torch.int64)
    torch.save(theirs, path)
    with pytest.raises(DataError) as raised:
        import_published(path, small)
    assert "1 missing (slot_attention.gru.bias_hh)" in raised.value.what
    assert "1 unknown (dm_decoder.model_ema.decay)" in raised.value.what
    assert "2 of another shape or type (encoder.conv1.weight is" in raised.value.what


def test_a_codec_alone_is_no_slot_model(
    tmp_path: Path, small: SlotModelSpec, small_codec: CodecModelSpec
) -> None:
    path = tmp_path / "vqvae.pth"
    torch.save(authors_state_dict(small_codec), path)
    with pytest.raises(DataError, match=r"and \d+ more"):
        import_published(path, small)


def test_values_that_are_not_finite_are_refused(
    tmp_path: Path, small: SlotModelSpec, theirs: dict[str, Tensor]
) -> None:
    path = tmp_path / "nan.pth"
    theirs["init_latents"][0, 0, 0] = float("nan")
    torch.save(theirs, path)
    with pytest.raises(DataError, match="not finite: init_latents"):
        import_published(path, small)


class Intruder:
    """Makes a folder when it is unpickled by a reader that runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", ["torch", "pickle", "npz"])
def test_code_in_a_file_is_not_run(writer: str, tmp_path: Path, small: SlotModelSpec) -> None:
    broken_in = tmp_path / "broken-in"
    content = {"init_latents": Intruder(broken_in)}
    path = tmp_path / ("evil.npz" if writer == "npz" else "evil.pth")
    if writer == "torch":
        torch.save(content, path)
    elif writer == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        np.savez(path, init_latents=np.array([Intruder(broken_in)], dtype=object))
    with pytest.raises(DataError):
        import_published(path, small)
    assert not broken_in.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.pth", b"Weights are available on request.\n"),
        ("empty.pth", b""),
        ("text.npz", b"PK? no."),
        ("text.safetensors", b"{}"),
        ("weights.h5", b"HDF"),
        ("weights", b""),
    ],
)
def test_other_files_are_refused(
    name: str, content: bytes, tmp_path: Path, small: SlotModelSpec
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=name):
        import_published(path, small)


@pytest.mark.parametrize(
    "content",
    [[], {}, torch.zeros(3), {"it": 3}, {3: torch.zeros(3)}, {"a": torch.eye(3).to_sparse()}],
)
def test_what_is_no_state_dict_is_refused(
    content: object, tmp_path: Path, small: SlotModelSpec
) -> None:
    path = tmp_path / "odd.pth"
    torch.save(content, path)
    with pytest.raises(DataError):
        import_published(path, small)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_truncated_files_are_refused(
    suffix: str, share: float, tmp_path: Path, small_codec: CodecModelSpec
) -> None:
    path = tmp_path / f"cut{suffix}"
    write(path, authors_state_dict(small_codec))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError):
        import_published(path, small_codec)


def test_a_missing_file_is_no_input(tmp_path: Path, small: SlotModelSpec) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(NoInputError):
            import_published(path, small)


# The commands


@pytest.fixture
def json_output() -> Iterator[None]:
    console.configure(verbose=False, quiet=False, json=True)
    yield
    console.configure(verbose=False, quiet=False, json=False)


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(
        models.app, [str(argument) for argument in arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def test_import_command_makes_a_model(tmp_path: Path, theirs: dict[str, Tensor]) -> None:
    source, definition, out = tmp_path / "theirs.pth", tmp_path / "small.toml", tmp_path / "out"
    torch.save(theirs, source)
    definition.write_text(SMALL_MODEL)
    assert str(out / WEIGHTS) in run("import", source, "--definition", definition, "--out", out)

    loaded = load_model(str(out))
    assert loaded.spec == parse(SMALL_MODEL)
    assert (out / DEFINITION).read_text() == SMALL_MODEL
    names = published_names(loaded.spec)
    state = loaded.module.state_dict()
    assert all(torch.equal(state[own], theirs[name]) for own, name in names.items())
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    _, metadata = read_tensors(out / WEIGHTS)
    assert metadata["provenance"] == {"source": "theirs.pth", "sha256": digest}

    again = ("import", source, "--definition", definition, "--out", out)
    with pytest.raises(CannotCreateError, match="exists already"):
        run(*again)
    (out / WEIGHTS).unlink()
    definition.write_text(SMALL_MODEL + "\n# changed\n")
    with pytest.raises(CannotCreateError, match="another definition"):
        run(*again)
    run(*again, "--overwrite")
    assert (out / DEFINITION).read_text() == definition.read_text()
    assert load_model(str(out)).sha256


def test_a_refused_import_leaves_nothing(tmp_path: Path, theirs: dict[str, Tensor]) -> None:
    source, definition, out = tmp_path / "theirs.pth", tmp_path / "small.toml", tmp_path / "out"
    del theirs["init_latents"]
    torch.save(theirs, source)
    definition.write_text(SMALL_MODEL)
    with pytest.raises(DataError):
        run("import", source, "--definition", definition, "--out", out)
    assert not out.exists()


@pytest.mark.usefixtures("json_output")
def test_list_and_show_as_json() -> None:
    rows = {row["name"]: row for row in map(json.loads, run("list").splitlines())}
    assert rows["slotdiffusion-movi-d"]["parameters"] == 152_339_233
    assert rows["vqvae-movi-d"]["kind"] == "codec"
    shown = json.loads(run("show", "slotdiffusion-movi-d"))
    definition = find_model("slotdiffusion-movi-d") / DEFINITION
    assert parse_spec(shown["spec"], "shown") == load_definition(definition)
    assert shown["definition"] == str(definition)


def test_list_and_show_as_tables() -> None:
    assert "152,339,233" in run("list")
    assert "decoder.codec.num_codes" in run("show", "slotdiffusion-movi-d")
