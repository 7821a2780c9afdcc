"""One file is a whole model, and a damaged or foreign file is never taken for one."""

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from slotcli.build import build, build_codec, build_model
from slotcli.checkpoint import (
    DEFINITION,
    DIGEST,
    WEIGHTS,
    find_model,
    load_codec_into,
    load_model,
    load_strictly,
    model_folders,
    read_tensors,
    save_model,
    write_tensors,
)
from slotcli.definition import spec_json
from slotcli.errors import (
    AccessError,
    CannotCreateError,
    DataError,
    NoInputError,
    OutputError,
    SlotcliError,
    UnavailableError,
)
from slotcli.spec import CodecModelSpec, SlotModelSpec

pytestmark = pytest.mark.slow


@pytest.fixture
def saved(tmp_path: Path, tiny_slot_spec: SlotModelSpec) -> tuple[Path, dict[str, Tensor]]:
    torch.manual_seed(0)
    tensors = build(tiny_slot_spec).state_dict()
    path = tmp_path / "a" / WEIGHTS
    save_model(path, tiny_slot_spec, tensors, 7, {"why": "a test", "torch": "2"})
    return path, tensors


def test_round_trip(saved: tuple[Path, dict[str, Tensor]], tiny_slot_spec: SlotModelSpec) -> None:
    path, tensors = saved
    for reference in (path, path.parent):
        loaded = load_model(str(reference))
        assert (loaded.spec, loaded.step, loaded.path) == (tiny_slot_spec, 7, path)
        assert not loaded.module.training
        own = loaded.module.state_dict()
        assert own.keys() == tensors.keys()
        assert all(torch.equal(own[name], tensor) for name, tensor in tensors.items())


def test_the_same_model_gives_the_same_bytes(
    saved: tuple[Path, dict[str, Tensor]], tiny_slot_spec: SlotModelSpec, tmp_path: Path
) -> None:
    path, tensors = saved
    again = tmp_path / "b.safetensors"
    backwards = dict(reversed(tensors.items()))
    save_model(again, tiny_slot_spec, backwards, 7, {"torch": "2", "why": "a test"})
    assert again.read_bytes() == path.read_bytes()
    assert load_model(str(again)).sha256 == load_model(str(path)).sha256
    assert list(tmp_path.rglob("*.part")) == []


def test_a_file_has_the_mode_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "b.part").touch(0o600)  # left behind by a crash
    (tmp_path / "a").touch()
    write_tensors(tmp_path / "b", {"x": torch.zeros(2)}, {})
    assert (tmp_path / "b").stat().st_mode == (tmp_path / "a").stat().st_mode


def test_strides_do_not_show_in_the_file(tmp_path: Path) -> None:
    image = torch.randn(2, 3, 4, 5)
    for name, tensor in (("a", image), ("b", image.contiguous(memory_format=torch.channels_last))):
        write_tensors(tmp_path / name, {"x": tensor}, {"k": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with safe_open(tmp_path / "a", framework="pt") as file:
        text = file.metadata()["slotcli"]
    assert json.loads(text).keys() == {"k", DIGEST}
    save_file({"x": image}, tmp_path / "c", {"slotcli": text})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()
    tensors, metadata = read_tensors(tmp_path / "a")
    assert torch.equal(tensors["x"], image)
    assert metadata == {"k": 1}


def test_everything_that_does_not_fit_is_listed(
    saved: tuple[Path, dict[str, Tensor]], tiny_slot_spec: SlotModelSpec, tmp_path: Path
) -> None:
    tensors = dict(saved[1])
    del tensors["encoder.initial_slots"]
    tensors["encoder.colour"] = torch.zeros(1)
    tensors["decoder.null"] = torch.zeros(1, 5, 16)
    path = tmp_path / WEIGHTS
    save_model(path, tiny_slot_spec, tensors, 0, {})
    with pytest.raises(DataError) as caught:
        load_model(str(path))
    for part in (
        "1 missing ['encoder.initial_slots']",
        "1 unexpected ['encoder.colour']",
        "decoder.null is [1, 5, 16], not [1, 2, 16]",
        str(path),
    ):
        assert part in caught.value.what


def test_nothing_is_loaded_where_anything_is_wrong(tiny_slot_spec: SlotModelSpec) -> None:
    model = build_model(tiny_slot_spec)
    before = model.encoder.initial_slots.clone()
    tensors = {"encoder.initial_slots": torch.zeros_like(before)}
    with pytest.raises(DataError):
        load_strictly(model, tensors, "tests")
    assert torch.equal(model.encoder.initial_slots, before)


def test_half_precision_is_widened(tiny_codec_spec: CodecModelSpec, tmp_path: Path) -> None:
    halves = {name: t.half() for name, t in build(tiny_codec_spec).state_dict().items()}
    save_model(tmp_path / WEIGHTS, tiny_codec_spec, halves, 0, {})
    module = load_model(str(tmp_path)).module
    assert {p.dtype for p in module.parameters()} == {torch.float32}


@pytest.mark.parametrize("place", [0, 4, 8, 9, 40])
def test_a_damaged_header_is_found(saved: tuple[Path, dict[str, Tensor]], place: int) -> None:
    path = saved[0]
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match="unreadable"):
        load_model(str(path))


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_cut_file_is_found(saved: tuple[Path, dict[str, Tensor]], length: int) -> None:
    path = saved[0]
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match="unreadable"):
        load_model(str(path))


def test_text_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_text("these are no weights\n")
    with pytest.raises(DataError, match="unreadable"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"slotcli": "{}"},
        {"slotcli": json.dumps({"schema": "slotcli.slots/1"})},
        {"slotcli": json.dumps({"schema": "slotcli.model/2"})},
    ],
)
def test_another_kind_of_safetensors_is_not_a_model(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / WEIGHTS, metadata=metadata)
    with pytest.raises(DataError, match="not a slotcli model"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("text", ["not json", "[1, 2]", "3"])
def test_metadata_that_is_no_table_is_found(tmp_path: Path, text: str) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / WEIGHTS, metadata={"slotcli": text})
    with pytest.raises(DataError):
        load_model(str(tmp_path))


@pytest.mark.parametrize("change", [{"spec": {}}, {"spec": []}, {"spec": None}, {"step": "seven"}])
def test_metadata_of_the_wrong_shape_is_damage(
    tmp_path: Path, tiny_codec_spec: CodecModelSpec, change: dict
) -> None:
    metadata = {"schema": "slotcli.model/1", "spec": spec_json(tiny_codec_spec), "step": 1}
    write_tensors(tmp_path / WEIGHTS, build(tiny_codec_spec).state_dict(), metadata | change)
    with pytest.raises(DataError, match=r"definition|step"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(
    saved: tuple[Path, dict[str, Tensor]], tiny_slot_spec: SlotModelSpec, value: float
) -> None:
    path, tensors = saved
    broken = tensors | {"encoder.initial_slots": torch.full((1, 3, 16), value)}
    save_model(path, tiny_slot_spec, broken, 0, {})
    with pytest.raises(DataError, match=r"encoder\.initial_slots is not finite"):
        load_model(str(path))


def test_a_definition_without_weights(tmp_path: Path) -> None:
    (tmp_path / DEFINITION).write_text("kind = 'codec'\n")
    with pytest.raises(UnavailableError, match="no weights") as caught:
        load_model(str(tmp_path))
    assert caught.value.exit_code == 69


def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(NoInputError) as caught:
        load_model("slotdiffusion-movi-z")
    assert "slotdiffusion-movi-d" in caught.value.advice


def test_models_that_came_along_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in model_folders():
        assert find_model(folder.name) == folder


def test_a_folder_that_cannot_be_made(tiny_codec_spec: CodecModelSpec, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotCreateError):
        save_model(tmp_path / "file" / WEIGHTS, tiny_codec_spec, {"x": torch.zeros(1)}, 0, {})


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, OutputError),
        (errno.EDQUOT, OutputError),
        (errno.EIO, OutputError),
        (errno.EACCES, AccessError),
        (errno.EROFS, AccessError),
        (errno.ENAMETOOLONG, CannotCreateError),
    ],
)
def test_what_the_disk_says_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[SlotcliError]
) -> None:
    write_tensors(tmp_path / "a", {"x": torch.zeros(2)}, {})
    before = (tmp_path / "a").read_bytes()

    def refuse(*_: object) -> None:
        (tmp_path / "a.part").touch()
        raise OSError(number, "the disk said so")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(kind, match="the disk said so"):
        write_tensors(tmp_path / "a", {"x": torch.ones(2)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_a_disk_that_is_really_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.part").symlink_to("/dev/full")
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # what is in the way stays there
    with pytest.raises(OutputError, match="No space left"):
        write_tensors(tmp_path / "a", {"x": torch.ones(2)}, {})


class TestLoadCodecInto:
    """The codec comes from a file of its own, named by the slot model's recipe."""

    @pytest.fixture
    def codec_file(self, tiny_codec_spec: CodecModelSpec, tmp_path: Path) -> Path:
        torch.manual_seed(5)
        path = tmp_path / "codec" / WEIGHTS
        save_model(path, tiny_codec_spec, build_codec(tiny_codec_spec).state_dict(), 3, {})
        return path

    @staticmethod
    def named(spec: SlotModelSpec, codec: Path) -> SlotModelSpec:
        return spec.model_copy(
            update={"train": spec.train.model_copy(update={"codec": str(codec)})}
        )

    def test_it_is_put_in_place_and_stays_frozen(
        self, tiny_slot_spec: SlotModelSpec, codec_file: Path
    ) -> None:
        spec = self.named(tiny_slot_spec, codec_file.parent)
        model = build_model(spec)
        digest = load_codec_into(model, spec)
        loaded = load_model(str(codec_file))
        assert digest == loaded.sha256
        frames = torch.rand(1, 3, 32, 32)
        with torch.no_grad():
            wanted = loaded.module.encode(frames)
        torch.testing.assert_close(model.decoder.target(frames), wanted)
        parameters = model.get_submodule("decoder.codec").parameters()
        assert not any(parameter.requires_grad for parameter in parameters)

    def test_another_codec_is_refused(
        self, tiny_slot_spec: SlotModelSpec, codec_file: Path
    ) -> None:
        spec = self.named(tiny_slot_spec, codec_file)
        other = spec.decoder.codec.model_copy(update={"num_codes": 31})
        decoder = spec.decoder.model_copy(update={"codec": other})
        spec = spec.model_copy(update={"decoder": decoder})
        with pytest.raises(DataError, match="not the codec that tiny-slots defines"):
            load_codec_into(build_model(spec), spec)

    def test_a_slot_model_is_no_codec(
        self, tiny_slot_spec: SlotModelSpec, saved: tuple[Path, dict[str, Tensor]]
    ) -> None:
        spec = self.named(tiny_slot_spec, saved[0])
        with pytest.raises(DataError, match="not the codec"):
            load_codec_into(build_model(spec), spec)

    def test_an_untrained_codec_is_refused(
        self, tiny_slot_spec: SlotModelSpec, tmp_path: Path
    ) -> None:
        (tmp_path / DEFINITION).touch()
        spec = self.named(tiny_slot_spec, tmp_path)
        with pytest.raises(UnavailableError):
            load_codec_into(build_model(spec), spec)
