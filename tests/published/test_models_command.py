"""slotcli models: list, show, import."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from authors_weights import (
    SMALL_MODEL,
    SMALL_MODELS,
    authors_state_dict,
    parse,
    stored_beside,
    weight,
)
from torch import Tensor
from typer.testing import CliRunner

from slotcli.checkpoint import DEFINITION, WEIGHTS, find_model, load_model, read_tensors
from slotcli.commands import console, models
from slotcli.definition import load_definition, parse_spec
from slotcli.errors import CannotCreateError, DataError
from slotcli.published import published_names

pytestmark = pytest.mark.slow


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


@pytest.mark.usefixtures("json_output")
@pytest.mark.parametrize("kind", SMALL_MODELS)
def test_import_command_brings_over_every_system(kind: str, tmp_path: Path) -> None:
    source, definition, out = tmp_path / "theirs.pth", tmp_path / "small.toml", tmp_path / "out"
    spec = parse(SMALL_MODELS[kind])
    weights, stored = authors_state_dict(spec), stored_beside(spec)
    torch.save({"state_dict": weights | stored, "epoch": 30}, source)
    definition.write_text(SMALL_MODELS[kind])
    said = json.loads(run("import", source, "--definition", definition, "--out", out))
    assert (said["mapped"], said["dropped"]) == (len(weights), sorted(stored))

    loaded = load_model(str(out))
    assert loaded.spec == spec
    state = loaded.module.state_dict()
    for own, name in published_names(spec).items():
        assert torch.equal(state[own], weight(name, tuple(state[own].shape)))


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
