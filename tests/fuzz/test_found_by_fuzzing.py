"""What mutants and their makers found, each in a file of its own, smallest form."""

import json
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_inputs import (
    CODEC,
    DEFINITION,
    codec_spec,
    moving,
    published,
    slot_file,
    video,
    weights,
)
from PIL import Image
from safetensors.torch import load_file

from slotcli.build import build
from slotcli.checkpoint import load_model, read_tensors, save_model, write_tensors
from slotcli.definition import load_definition, parse_spec, spec_json
from slotcli.errors import ConfigError, DataError
from slotcli.published import import_published
from slotcli.tracks.slot_file import read_slot_file, write_slot_file
from slotcli.types import FLAG_TIMING_REPAIRED
from slotcli.video.reader import open_clip, probe
from slotcli.video.source import Damage
from slotcli.video.timing import LATEST_SECONDS, Clock, Picture, chunk_frames


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "model.toml"
    path.write_text(DEFINITION)
    return path


@pytest.mark.parametrize("codec", ["ffv1", "libvpx-vp9"])
def test_frames_may_have_as_many_pixels_as_allowed(tmp_path: Path, codec: str) -> None:
    """FFmpeg counts the columns that it pads with, and refused frames of just that size."""
    path = tmp_path / "clip.mkv"
    video(codec, "yuv420p", "matroska")(path, 0)
    with pytest.raises(DataError, match="frames of 32 x 24 pixels, more than the 767 allowed"):
        probe(path, max_pixels=24 * 32 - 1)
    assert probe(path, max_pixels=24 * 32).size == (24, 32)


@pytest.mark.parametrize("tag", ["9" * 400 + ":0:0", "0:0:inf", "0:0:nan", "::", "0:-1:0"])
def test_a_duration_that_is_no_time(tmp_path: Path, tag: str) -> None:
    path = tmp_path / "clip.mkv"
    video("ffv1", "yuv420p", "matroska")(path, 0)
    content = path.read_bytes()
    # The tag's text has 20 bytes; a longer one is written over what follows the name.
    place = content.index(b"00:00:00.800000000")
    edited = content[:place] + tag.encode()[:18].ljust(18, b" ") + content[place + 18 :]
    path.write_bytes(edited)
    with open_clip(path) as reader:
        assert sum(len(chunk) for chunk in reader.chunks(3)) == 8
    assert 0 < reader.info.declared_seconds < 10


TICK = Fraction(1, 1000)


def times(pictures: list[tuple[int | None, int]], time_base: Fraction = TICK) -> Any:
    frame = np.zeros((1, 1, 3), np.uint8)
    given = iter([Picture(frame, pts, duration, 0) for pts, duration in pictures])
    clock = Clock(time_base, Fraction(10))
    (chunk,) = chunk_frames(given, 100, clock, Damage())
    return chunk


@pytest.mark.parametrize("late", [2**63 - 1, -(2**63) + 1, LATEST_SECONDS * 1000 + 1])
def test_a_time_beyond_any_clock_is_repaired(late: int) -> None:
    chunk = times([(0, 0), (late, 0), (200, 0)])
    assert chunk.pts.tolist() == [0, 100, 200]
    assert chunk.flags.tolist() == [0, FLAG_TIMING_REPAIRED, 0]


@pytest.mark.parametrize("duration", [2**63 - 1, -1, LATEST_SECONDS * 1000 + 1])
def test_a_last_frame_that_never_ends_lasts_as_long_as_others(duration: int) -> None:
    assert times([(0, 0), (100, duration)]).duration.tolist() == [100, 100]


def test_a_clock_that_counts_from_1970_is_believed() -> None:
    now = 1_795_000_000_000
    chunk = times([(now, 0), (now + 100, 100)])
    assert chunk.pts.tolist() == [now, now + 100]
    assert not chunk.flags.any()


def test_a_rate_of_one_frame_in_years_is_not_believed() -> None:
    assert Clock(TICK, Fraction(1, 2**31)).step == 40


def test_damaged_orientation_is_noted(tmp_path: Path) -> None:
    tag = struct.pack("<HHIHHI", 42, 1, 8, 0x0112, 3, 1)  # cut off within the only entry
    image = Image.fromarray(moving(1, 0)[0])
    image.save(tmp_path / "a.jpg", exif=b"Exif\0\0II" + tag[:-4])
    image.save(tmp_path / "b.jpg")
    with open_clip(tmp_path) as reader:
        assert sum(len(chunk) for chunk in reader.chunks(3)) == 2
    (note,) = reader.damage.notes
    assert note.startswith("a.jpg is damaged: Corrupt EXIF data")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("steps = 4", "steps = " + "9" * 5000),
        ("steps = 4", "steps = " + "[" * 5000),
        ("learning_rate = 1e-3", "learning_rate = inf"),
        ("learning_rate = 1e-3", "learning_rate = nan"),
        ("layers = 1", "layers = 1000000000"),
        ("channels = 32", "channels = 1000000000"),
        ("slot_dim = 16", "slot_dim = 1000000000"),
        ("size = [32, 32]", "size = [1048576, 1048576]"),
        ("multipliers = [1, 2]\nres", f"multipliers = {[1] * 40}\nres"),
        ("seed = 1", "seed = 9223372036854775808"),
        ('name = "small"', f"name = {{ {'a' * 5000} = 1 }}"),
    ],
)
def test_a_definition_that_asks_for_the_impossible(small: Path, old: str, new: str) -> None:
    assert DEFINITION.count(old) >= 1
    small.write_text(DEFINITION.replace(old, new, 1))
    with pytest.raises(ConfigError) as raised:
        load_definition(small)
    assert len(raised.value.what) < 2000


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000, "{a=" * 5000])
def test_an_override_that_no_parser_takes(small: Path, value: str) -> None:
    with pytest.raises(ConfigError):
        load_definition(small, (f"train.steps={value}",))


def test_an_override_that_is_no_unicode(small: Path) -> None:
    """It would fail when the first checkpoint is written, hours later."""
    for key in ("name", "train.codec"):
        with pytest.raises(ConfigError, match=f"{key}: not Unicode"):
            load_definition(small, (f"{key}=caf\udce9",))


def with_spec(path: Path, **changes: Any) -> None:
    spec = codec_spec()
    metadata = {"schema": "slotcli.model/1", "spec": CODEC | changes, "step": 1}
    write_tensors(path, build(spec).state_dict(), metadata)


def test_a_checkpoint_gets_no_more_memory_than_it_has_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    with_spec(path, codec={"kind": "dvae", "channels": 2**16, "num_codes": 2**16})
    made = []
    plain = torch.nn.Conv2d.__init__

    def noted(self: Any, *arguments: Any, **options: Any) -> None:
        plain(self, *arguments, **options)
        made.append(self.weight.device.type)

    monkeypatch.setattr(torch.nn.Conv2d, "__init__", noted)
    with pytest.raises(DataError, match="of another shape"):
        load_model(str(path))
    assert set(made) == {"meta"}


@pytest.mark.parametrize("change", ["weight", "spec", "step", "provenance", "name"])
def test_a_bit_that_flipped_in_a_model_is_found(tmp_path: Path, change: str) -> None:
    """safetensors loads it without a word, and the masks would be other masks."""
    path = tmp_path / "a.safetensors"
    weights(path, 0)
    load_model(str(path))
    content = bytearray(path.read_bytes())
    inside = {
        "weight": b"",
        "spec": b'learning_rate\\":0.001',
        "step": b'step\\":0',
        "provenance": b"by a test",
        "name": b"small-codec",
    }[change]
    place = content.index(inside) + len(inside) - 1 if inside else len(content) - 2
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="does not match its digest"):
        load_model(str(path))


def test_a_model_from_before_there_were_digests_is_loaded(tmp_path: Path) -> None:
    with_spec(tmp_path / "a.safetensors")
    assert load_model(str(tmp_path / "a.safetensors")).step == 1


def test_the_digest_is_no_part_of_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    weights(path, 0)
    tensors, metadata = read_tensors(path)
    assert metadata.keys() == {"schema", "spec", "step", "provenance"}
    save_model(tmp_path / "b", codec_spec(), tensors, metadata["step"], metadata["provenance"])
    assert (tmp_path / "b").read_bytes() == path.read_bytes()
    assert parse_spec(metadata["spec"], "test") == parse_spec(spec_json(codec_spec()), "test")


def test_metadata_nested_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    weights(path, 0)
    tensors = load_file(path)
    header: dict[str, Any] = {"__metadata__": {"slotcli": "[" * 100_000}}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": "F32", "shape": [*tensor.shape], "data_offsets": [start, end]}
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(end))
    with pytest.raises(DataError, match="unreadable"):
        load_model(str(path))


def test_a_quoted_name_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a" * 100_000: torch.zeros(1)}, path)
    with pytest.raises(DataError) as raised:
        import_published(path, codec_spec())
    assert len(raised.value.what) < 2000


@pytest.mark.filterwarnings("error")
def test_an_unusual_protocol_is_no_cause_for_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    published(path, 0)
    content = path.read_bytes()
    before, _ = import_published(path, codec_spec())
    assert content.count(b"\x80\x02") > 0
    path.write_bytes(content.replace(b"\x80\x02", b"\x80\x51"))
    after, _ = import_published(path, codec_spec())
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    "changes",
    [
        {"pts": np.array([0, 1, 1, 2, 3])},
        {"pts": np.array([4, 3, 2, 1, 0])},
        {"pts": np.array([-(2**63), 0, 1, 2, 2**63 - 1])},
        {"pts": np.arange(5) + 2**62},
        {"duration": np.zeros(5, np.int64)},
        {"duration": np.full(5, 2**63 - 1)},
    ],
)
def test_impossible_times_of_a_slot_file(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "a"
    slot_file(path, 0)
    sound = read_slot_file(path)
    write_slot_file(path, replace(sound, **changes))
    with pytest.raises(DataError, match=r"follow each other|beyond any clip"):
        read_slot_file(path)
