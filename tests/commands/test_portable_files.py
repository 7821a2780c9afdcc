"""Files that go to other machines name models and data, and hold no path of this machine."""

import json
import re
import shutil
from pathlib import Path

import pytest
from made_clips import make_clip
from safetensors import safe_open
from test_train import sets, write_definition

from slotcli.checkpoint import (
    DEFINITION,
    WEIGHTS,
    file_sha256,
    load_model,
    model_folders,
    portable,
    save_model,
)

SHIPPED = [path for folder in model_folders() for path in sorted(folder.glob("*.safetensors"))]


def strings(value):
    """All strings of JSON values, and the names of its tables."""
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (key, *strings(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in strings(inner)]
    return [value] if isinstance(value, str) else []


def paths_in(file):
    with safe_open(file, framework="numpy") as header:
        texts = strings(json.loads(header.metadata()["slotcli"]))
    assert texts
    return [text for text in texts if text.startswith("/") or "=/" in text or '"/' in text]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.parent.name)
def test_shipped_weights_have_no_path(file):
    assert paths_in(file) == []


def test_every_shipped_definition_names_its_codec():
    for folder in model_folders():
        for path in folder.glob("*.toml"):
            assert '"/' not in path.read_text(), path


def test_cards_name_the_weights_beside_them():
    card = next(folder for folder in model_folders() if folder.name == "tiny-64") / "README.md"
    assert f"Weights sha256 begins {file_sha256(card.with_name(WEIGHTS))[:16]}." in card.read_text()


def test_a_run_its_packed_weights_and_its_slots_name_codec_and_data(
    cli, tmp_path: Path, tiny_codec: Path, tiny_model: Path
):
    codec = shutil.copytree(tiny_codec, tmp_path / "a codec")
    for name in ("a", "b"):
        make_clip(tmp_path / "footage" / f"{name}.mp4", 4, (32, 32))
    definition = write_definition(tmp_path, tiny_model)
    given = ["--config", definition, "--out", tmp_path / "run", "--data", tmp_path / "footage"]
    small = sets(f"train.codec={codec / WEIGHTS}", "train.steps=1", "train.evaluate_every=1")
    code, _, err = cli("train", *given, *small, "--device", "cpu")
    assert code == 0, err
    packed = tmp_path / "packed"
    packed.mkdir()
    text = Path(definition).read_text()
    (packed / DEFINITION).write_text(re.sub(r'(?m)^name = ".*"', 'name = "mine"', text))
    code, _, err = cli("models", "pack", tmp_path / "run", "--out", packed)
    assert code == 0, err
    code, _, err = cli("decompose", "footage/a.mp4", "--model", packed, "--masks", "none")
    assert code == 0, err
    slots = tmp_path / "slotcli-out/a.mp4/clip.slots.safetensors"
    for file in (tmp_path / "run" / WEIGHTS, packed / WEIGHTS, slots):
        assert paths_in(file) == [], file
        assert str(tmp_path).encode() not in file.read_bytes()
    loaded = load_model(str(packed))
    assert loaded.spec.name == "mine"
    assert loaded.spec.train.codec == "a codec"
    assert loaded.spec.train.data.path == "footage"
    with safe_open(packed / WEIGHTS, framework="numpy") as header:
        provenance = json.loads(header.metadata()["slotcli"])["provenance"]
    digest = file_sha256(codec / WEIGHTS)
    assert provenance["codec"] == {"name": "a codec", "weights_sha256": digest}


def test_slots_of_weights_that_were_made_with_a_path(cli, tmp_path, tiny_model, monkeypatch):
    """As versions before wrote them."""
    loaded = load_model(str(tiny_model))
    train = loaded.spec.train.model_copy(update={"codec": "/home/somebody/codec"})
    spec = loaded.spec.model_copy(update={"train": train})
    monkeypatch.setattr("slotcli.checkpoint.portable", lambda value: value)
    save_model(tmp_path / WEIGHTS, spec, loaded.module.state_dict(), 0, {})
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert paths_in(tmp_path / WEIGHTS) == ["/home/somebody/codec"]
    make_clip(tmp_path / "a.mp4", 2, (32, 32))
    code, _, err = cli("decompose", tmp_path / "a.mp4", "--model", tmp_path, "--out", "out")
    assert code == 0, err
    assert paths_in(tmp_path / "out/a.mp4/clip.slots.safetensors") == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/data/my clips/davis", "davis"),
        ("/runs/codec/weights.safetensors", "codec"),
        ("--out=/tmp/x/run", "--out=run"),
        ("train.codec=/tmp/x/codec", "train.codec=codec"),
        ('train.data={kind="videos", path="/a/b c/d"}', 'train.data={kind="videos", path="d"}'),
        ("/", "root"),
        ("models/tiny-64", "models/tiny-64"),
        ("steps/s", "steps/s"),
    ],
)
def test_a_path_becomes_a_name(text, name):
    assert portable({"a": [text, 3, None]}) == {"a": [name, 3, None]}
