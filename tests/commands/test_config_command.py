import json
import tomllib

import pytest

from slotcli.checkpoint import DEFINITION, model_folders
from slotcli.definition import load_definition, parse_spec

DEFINITIONS = [folder.name for folder in model_folders()]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_what_show_prints_is_toml_that_defines_the_same_model(cli, name):
    code, out, _ = cli("config", "show", name)
    assert code == 0
    [folder] = [folder for folder in model_folders() if folder.name == name]
    assert parse_spec(tomllib.loads(out), "shown") == load_definition(folder / DEFINITION)


def test_show_applies_overrides_and_json_is_one_line(cli):
    code, out, _ = cli("--json", "config", "show", "tiny-64", "--set", "train.steps=7")
    assert code == 0
    assert out.count("\n") == 1
    assert json.loads(out)["train"]["steps"] == 7


def test_every_definition_that_comes_along_is_valid(cli):
    code, out, _ = cli("config", "validate", *DEFINITIONS)
    assert code == 0
    assert len(out.splitlines()) == len(DEFINITIONS)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("train.stepps=1", "train.stepps"),
        ("size=[60, 60]", "does not divide"),
        ("train.data.mix={A=0.5}", "add up"),
        ("train.steps", "key.path=value"),
    ],
)
def test_validate_names_what_is_wrong(cli, override, named):
    code, out, err = cli("config", "validate", "tiny-64", "--set", override)
    assert (code, out) == (78, "")
    assert named in err


def test_a_definition_that_is_not_there_is_no_input(cli):
    code, _, err = cli("config", "show", "no-such-model")
    assert code == 66
    assert "tiny-64" in err


def test_schema_lists_the_keys_of_both_kinds(cli):
    code, out, _ = cli("config", "schema")
    assert code == 0
    schema = json.loads(out)
    assert set(schema["discriminator"]["mapping"]) == {"codec", "slot_model"}
    assert "slot_dim" in schema["$defs"]["SlotModelSpec"]["properties"]


@pytest.mark.parametrize("name", ["tiny-64", "vqvae-movi-d", "steve-movi-e", "slate-celeba"])
def test_init_writes_a_definition_that_validates_and_trains_the_same(cli, tmp_path, name):
    code, out, _ = cli("config", "init", "mine.toml", "--like", name, "--set", "train.steps=7")
    assert code == 0
    assert "mine.toml" in out
    [folder] = [folder for folder in model_folders() if folder.name == name]
    wanted = load_definition(folder / DEFINITION, ("name=mine", "train.steps=7"))
    assert load_definition(tmp_path / "mine.toml") == wanted
    assert cli("config", "validate", "mine.toml")[0] == 0


def test_init_never_replaces_a_file(cli, tmp_path):
    (tmp_path / "mine.toml").write_text("mine")
    code, out, err = cli("config", "init", "mine.toml")
    assert (code, out) == (73, "")
    assert "mine.toml" in err
    assert (tmp_path / "mine.toml").read_text() == "mine"
    assert cli("config", "init", "absent/mine.toml")[0] == 73
    assert cli("config", "init", "new.toml", "--set", "train.stepps=1")[0] == 78
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_init_as_json(cli):
    code, out, _ = cli("--json", "config", "init", "mine.toml")
    assert (code, json.loads(out)) == (0, {"path": "mine.toml", "like": "tiny-64"})


@pytest.mark.parametrize(
    ("override", "said", "meant"),
    [
        ("train.stepz=3", "there is no key train.stepz", "train.steps"),
        ("trian.steps=3", "there is no key trian.steps", "train.steps"),
        ("steps=3", "there is no key steps", "train.steps"),
        ("batch=3", "there is no key batch", "train.batch_size"),
        ("encoder.backbone.chanels=8", "no key encoder.backbone.chanels", "channels?"),
        ("train.data={kind='folder', pat='x'}", "no key train.data.pat", "train.data.path"),
        ("decoder.kind=token_transforme", "'token_transforme' is not one of", "token_transformer?"),
        ("kind=slotmodel", "'slotmodel' is not one of", "slot_model?"),
        ("decoder.kind=token_transformer", "decoder.codec.multipliers is a key of another", ""),
        ("train.steps=many", "train.steps: has to be a valid integer", ""),
        ("train.steps.x=1", "steps is a value, not a table", ""),
        ("zzz=1", "there is no key zzz", ""),
    ],
)
def test_a_wrong_override_is_named_with_the_key_that_was_meant(cli, override, said, meant):
    code, out, err = cli("config", "show", "tiny-64", "--set", override)
    assert (code, out) == (78, "")
    assert err.startswith(f"error: --set {override}: ")
    assert said in err
    assert meant in err
    assert "model.toml" not in err
    assert ("id you mean" in err) == bool(meant)


def test_a_wrong_key_of_a_file_names_the_file(cli, tmp_path):
    cli("config", "init", "mine.toml")
    text = (tmp_path / "mine.toml").read_text()
    for wrong, right in (("num_slotz =", "num_slots ="), ("[trian]", "[train]")):
        (tmp_path / "wrong.toml").write_text(text.replace(right, wrong))
        code, _, err = cli("config", "validate", "wrong.toml")
        assert code == 78
        assert err.startswith("error: wrong.toml: there is no key ")
        assert f"Did you mean {right.strip('[] =')}?" in err


def test_init_replaces_a_file_if_it_may(cli, tmp_path):
    (tmp_path / "mine.toml").write_text("mine")
    assert cli("config", "init", "-o", "mine.toml", "--overwrite")[0] == 0
    assert load_definition(tmp_path / "mine.toml").name == "mine"
    (tmp_path / "folder.toml").mkdir()
    assert cli("config", "init", "folder.toml", "--overwrite")[0] == 73
