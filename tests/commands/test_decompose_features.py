"""decompose and reconstruct with models that decode features: drawn slots, there and back."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from made_clips import make_clip

from slotcli.build import build_model
from slotcli.checkpoint import WEIGHTS, save_model
from slotcli.encoder import cyclic
from slotcli.model import normalise
from slotcli.spec import SlotModelSpec
from slotcli.tracks.slot_file import read_slot_file

pytestmark = pytest.mark.slow

Cli = Callable[..., tuple[int, str, str]]

ON = ["--device", "cpu", "--threads", "1", "--no-overlay", "--masks", "none"]
COUNT = 7


@pytest.fixture(scope="module")
def models(
    tmp_path_factory: pytest.TempPathFactory, feature_specs: dict[str, SlotModelSpec]
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("feature-models")
    for name, spec in feature_specs.items():
        torch.manual_seed(0)
        tensors = build_model(spec).state_dict()
        save_model(folder / name / WEIGHTS, spec, tensors, 0, {})
    return {name: folder / name for name in feature_specs}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mkv"
    make_clip(path, COUNT, (42, 56), [100 * number for number in range(COUNT)])
    return path


def slots_of(out: Path) -> np.ndarray:
    return np.asarray(read_slot_file(out / "clip.mkv" / "clip.slots.safetensors").slots)


@pytest.fixture
def decompose(clip: Path, models: dict[str, Path], tmp_path: Path, cli: Cli):
    def run(model: str, out: str, *options: object) -> Path:
        given = ["decompose", clip, "--model", models[model], "--out", tmp_path / out]
        code, _, said = cli(*given, *options, *ON)
        assert code == 0, said
        return tmp_path / out

    return run


def options_of(out: Path) -> dict:
    return json.loads((out / "clip.mkv" / "result.json").read_text())["options"]


def test_slots_are_drawn_by_seed_and_number_and_recorded(decompose) -> None:
    plain = decompose("slot_mixer", "plain", "--chunk", 3)
    assert slots_of(plain).shape == (COUNT, 3, 16)
    assert (options_of(plain)["slots"], options_of(plain)["slot_seed"]) == (3, 0)
    more = decompose("slot_mixer", "more", "--slots", 5, "--slot-seed", 4)
    assert slots_of(more).shape == (COUNT, 5, 16)
    assert (options_of(more)["slots"], options_of(more)["slot_seed"]) == (5, 4)


def test_there_and_back_is_the_published_order(
    decompose, clip: Path, models: dict[str, Path], feature_specs: dict[str, SlotModelSpec]
) -> None:
    from slotcli.checkpoint import load_model
    from slotcli.decomposition.clip_encoder import model_input
    from slotcli.tracks.fitting import fit_transform
    from slotcli.types import FrameChunk
    from slotcli.video.reader import open_clip

    found = slots_of(decompose("patch_mlp", "cyclic", "--cyclic", "--chunk", 2))
    _, model = load_model(str(models["patch_mlp"])).slot_model()
    with open_clip(clip) as reader:
        chunks = list(reader.chunks(16))
        transform = fit_transform(reader.info.size, model.size, "squeeze", exact=False)
    assert isinstance(chunks[0], FrameChunk)
    frames = normalise(model_input(transform, chunks[0])[None])
    with torch.inference_mode():
        slots = model.encoder(frames).slots[:, -1]  # of the last frame, which is kept
        wanted = [slots]
        for number in reversed(range(COUNT - 1)):
            slots = model.encoder(frames[:, number : number + 1], slots).slots[:, 0]
            wanted.insert(0, slots)
    np.testing.assert_allclose(found, torch.cat(wanted).numpy(), atol=1e-5)
    forwards = decompose("patch_mlp", "forwards")
    assert np.abs(found - slots_of(forwards)).max() > 1e-3
    assert not {"slots", "slot_seed", "cyclic"} & options_of(forwards).keys()


@pytest.mark.parametrize(
    ("model", "options", "named"),
    [
        ("patch_mlp", ["--slots", "5"], "one by one"),
        ("patch_mlp", ["--cyclic", "--reset", "every:2"], "without --reset"),
        ("patch_mlp", ["--size", "56"], "28x28 only"),
    ],
)
def test_what_a_model_cannot_do_is_said(
    model: str, options: list, named: str, clip: Path, models: dict[str, Path], tmp_path, cli: Cli
) -> None:
    given = ["decompose", clip, "--model", models[model], "--out", tmp_path / "out"]
    code, _, said = cli(*given, *options, *ON)
    assert code == 2
    assert named in said
    assert not (tmp_path / "out").exists()


def test_a_stream_and_a_long_clip_do_not_turn_back(
    clip: Path, models: dict[str, Path], tmp_path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--model", models["patch_mlp"], "--out", tmp_path / "out", "--cyclic", *ON]
    code, _, said = cli("decompose", "-", *given)
    assert code == 2
    assert "no end to turn back from" in said
    monkeypatch.setattr(cyclic, "MOST_BYTES", 5 * 16 * 16 * 4)  # of five frames
    code, _, said = cli("decompose", clip, *given)
    assert code == 2
    assert "hold 5 frames" in said
    assert not list((tmp_path / "out").glob("clip*"))


def test_features_are_not_drawn(decompose, models: dict[str, Path], tmp_path, cli: Cli) -> None:
    out = decompose("slot_mixer", "result")
    code, _, said = cli(
        "reconstruct", out / "clip.mkv", "--out", tmp_path / "drawn.mp4", "--device", "cpu"
    )
    assert code == 69
    assert len(said.strip().splitlines()) >= 2
    assert "no pictures" in said
    assert not list(tmp_path.glob("*drawn*"))
