import json
from fractions import Fraction

import numpy as np
import pytest

from slotcli.tracks.slot_file import SlotFile, write_slot_file
from slotcli.tracks.transform import Transform
from slotcli.video.writer import VideoWriter


@pytest.fixture
def slot_file(tmp_path):
    rng = np.random.default_rng(0)
    attention = rng.random((5, 3, 4, 6), np.float32).astype(np.float16)
    transform = Transform((8, 12), (0, 0, 8, 12), (8, 12)).to_json()
    sections = {name: {} for name in ("sampling", "run", "statistics")}
    metadata = {**sections, "transform": transform, "model": {"name": "m"}, "source": {"name": "s"}}
    flags = np.array([0, 1, 0, 0, 2], np.uint8)
    times = np.arange(5)
    slots = rng.random((5, 3, 7), np.float32)
    path = tmp_path / "clip.slots.safetensors"
    write_slot_file(
        path, SlotFile(slots, attention, times, np.ones_like(times), times, flags, metadata)
    )
    return path


def test_a_video_is_described(cli, tmp_path):
    path = tmp_path / "odd\nname.mp4"
    with VideoWriter(path, (16, 32), Fraction(1, 12), codec="h264") as video:
        for pts in range(3):
            video.write(np.zeros((16, 32, 3), np.uint8), pts, 1)
    code, out, _ = cli("info", path)
    assert code == 0
    lines = out.splitlines()
    assert {"codec: h264", "size: 16 x 32", "average_rate: 12", "declared_frames: 3"} <= set(lines)
    assert r"name: odd\nname.mp4" in lines
    code, out, _ = cli("--json", "info", path)
    assert json.loads(out)["time_base"] == "1/12"


def test_a_slot_file_is_verified_and_described(cli, slot_file):
    code, out, _ = cli("--json", "info", slot_file)
    assert code == 0
    facts = json.loads(out)
    assert (facts["frames"], facts["num_slots"], facts["slot_dim"]) == (5, 3, 7)
    assert (facts["attention_size"], facts["flagged_frames"]) == ([4, 6], 2)
    assert facts["hashes"] == "verified"


def test_a_flipped_bit_of_a_slot_file_is_found(cli, slot_file):
    data = bytearray(slot_file.read_bytes())
    data[-100] ^= 1
    slot_file.write_bytes(data)
    code, out, err = cli("info", slot_file)
    assert (code, out) == (65, "")
    assert "hash" in err


def test_weights_are_described_with_their_spec(cli, tiny_model, tiny_codec):
    code, out, _ = cli("--json", "info", tiny_model / "weights.safetensors")
    facts = json.loads(out)
    assert (code, facts["kind"], facts["spec"]["num_slots"]) == (0, "slot_model", 4)
    code, out, _ = cli("info", tiny_codec / "weights.safetensors")
    assert (code, "kind: codec" in out) == (0, True)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("absent.mp4", None, 66),
        ("absent.safetensors", None, 66),
        ("text.txt", b"hello", 65),
        ("empty.mp4", b"", 65),
        ("broken.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{", 65),
        ("foreign.safetensors", b"\x02\x00\x00\x00\x00\x00\x00\x00{}", 65),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_code(cli, tmp_path, name, content, expected):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    code, out, err = cli("info", name)
    assert (code, out) == (expected, ""), err
    assert name in err
