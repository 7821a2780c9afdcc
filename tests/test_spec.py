import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from slotcli.checkpoint import DEFINITION, model_folders
from slotcli.data.kinds import PublicKind
from slotcli.definition import load_definition, parse_spec, spec_json
from slotcli.errors import ConfigError, NoInputError
from slotcli.spec import CodecModelSpec, PublicSpec, SlotModelSpec

FOLDERS = {folder.name: folder for folder in model_folders()}
TINY = FOLDERS["tiny-64"] / DEFINITION


@pytest.mark.parametrize("name", FOLDERS)
def test_every_definition_parses_and_survives_json(name: str) -> None:
    spec = load_definition(FOLDERS[name] / DEFINITION)
    assert spec.name == name
    assert parse_spec(spec_json(spec), "json") == spec


@pytest.mark.parametrize("name", FOLDERS)
def test_a_slot_model_and_its_codec_agree(name: str) -> None:
    spec = load_definition(FOLDERS[name] / DEFINITION)
    if isinstance(spec, SlotModelSpec):
        if spec.codec is None:
            assert spec.train.codec is None
            return
        assert spec.train.codec is not None
        codec = load_definition(FOLDERS[spec.train.codec] / DEFINITION)
        assert isinstance(codec, CodecModelSpec)
        # tiny-64 has fewer scenes, and a cached encoder fewer clips, than their codecs
        fewer = name.endswith("tiny-64") or spec.train.cache_encoder
        data = codec.train.data if fewer else spec.train.data
        assert (codec.codec, codec.size, codec.train.data) == (spec.codec, spec.size, data)
        assert codec.train.data.kind == spec.train.data.kind


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("encoder.iteration=3", "encoder.iteration"),
        ("train.learning_rates=1e-4", "train.learning_rates"),
        ("colour=red", "colour"),
        ("train.steps=0", "train.steps"),
        ("train.steps=many", "train.steps"),
        ("train.ema=1.0", "train.ema"),
        ("num_slots=-1", "num_slots"),
        ("size=[64]", "size"),
        ("decoder.target=noise", "decoder.target"),
        ("encoder.backbone.kind=vit", "encoder.backbone"),
        ("kind=model", "kind"),
    ],
)
def test_a_wrong_key_or_value_is_named(override: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_definition(TINY, (override,))
    assert named in caught.value.what
    assert caught.value.what.startswith(f"--set {override}: ")
    assert str(TINY) not in caught.value.what
    assert caught.value.exit_code == 78


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    text = TINY.read_text().replace("num_slots = 8\n", "")
    (tmp_path / DEFINITION).write_text(text)
    with pytest.raises(ConfigError, match="num_slots"):
        load_definition(tmp_path / DEFINITION)


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("train.steps=7", lambda spec: spec.train.steps == 7),
        ("train.learning_rate=3e-5", lambda spec: spec.train.learning_rate == 3e-5),
        ("size=[32, 48]", lambda spec: spec.size == (32, 48)),
        ("train.flip=false", lambda spec: spec.train.flip is False),
        ("train.codec=some-codec", lambda spec: spec.train.codec == "some-codec"),
        ('train.codec="runs/a=b"', lambda spec: spec.train.codec == "runs/a=b"),
        ("train.codec=runs/a=b", lambda spec: spec.train.codec == "runs/a=b"),
        ("encoder.backbone.channels=16", lambda spec: spec.encoder.backbone.channels == 16),
        ('train.data={kind="folder", path="x"}', lambda spec: spec.train.data.path == "x"),
    ],
)
def test_overrides(override: str, read: Any) -> None:
    assert read(load_definition(TINY, (override,)))


def test_the_last_override_wins() -> None:
    spec = load_definition(TINY, ("num_slots=3", "num_slots=5"))
    assert isinstance(spec, SlotModelSpec)
    assert spec.num_slots == 5


def test_an_override_can_make_a_table() -> None:
    movi = FOLDERS["slotdiffusion-movi-d"] / DEFINITION
    spec = load_definition(movi, ("decoder.codec.num_codes=64",))
    assert isinstance(spec, SlotModelSpec)
    assert spec.decoder.codec.num_codes == 64


@pytest.mark.parametrize("override", ["train.steps", "=5", "name.first=x"])
def test_a_malformed_override_is_shown(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_definition(TINY, (override,))
    assert override in caught.value.what


@pytest.mark.parametrize("content", [b"kind = ", b"\xff\xfe\x00", b"a = 1\na = 2", b"[a\n"])
def test_bad_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / DEFINITION
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_definition(path)


def test_an_empty_definition_lacks_its_kind(tmp_path: Path) -> None:
    (tmp_path / DEFINITION).touch()
    with pytest.raises(ConfigError, match="kind"):
        load_definition(tmp_path / DEFINITION)


def test_a_missing_definition() -> None:
    with pytest.raises(NoInputError):
        load_definition(Path("nowhere") / DEFINITION)


def test_a_spec_cannot_be_changed(tiny_slot_spec: SlotModelSpec) -> None:
    with pytest.raises(ValueError, match="frozen"):
        tiny_slot_spec.num_slots = 4


def test_the_kinds_of_published_data_sets_are_those_of_the_command_line():
    assert get_args(PublicSpec.model_fields["kind"].annotation) == get_args(PublicKind)


def test_keys_of_earlier_versions_are_read_wherever_a_key_may_be(tmp_path: Path) -> None:
    spec = load_definition(TINY)
    text = TINY.read_text()
    for new, old in (("grouping_by", "coherence_of"), ("grouping_weight", "coherence_weight")):
        assert f"\n{new} = " in text
        text = text.replace(f"\n{new} = ", f"\n{old} = ")
    path = tmp_path / DEFINITION
    path.write_text(text)
    assert load_definition(path) == spec
    assert parse_spec(tomllib.loads(text), "text") == spec
    overridden = load_definition(path, ("train.coherence_until=0.5", "train.coherence_weight=3"))
    assert overridden == load_definition(
        TINY, ("train.grouping_until=0.5", "train.grouping_weight=3")
    )


def test_a_key_beside_its_earlier_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / DEFINITION
    path.write_text(TINY.read_text() + "\ncoherence_weight = 2.0\n")
    with pytest.raises(ConfigError, match=r"coherence_weight is the earlier name of train\.groupi"):
        load_definition(path)
