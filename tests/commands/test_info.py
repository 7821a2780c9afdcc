import json
import re
from fractions import Fraction
from io import BytesIO, TextIOWrapper

import numpy as np
import pytest
from PIL import Image
from pseudo_terminal import run_on_terminal, without_codes

from slotcli.commands import console
from slotcli.tracks.slot_file import SlotFile, write_slot_file
from slotcli.tracks.transform import Transform
from slotcli.training.run_facts import write_run_facts
from slotcli.video.writer import VideoWriter

pytestmark = pytest.mark.slow


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
    assert {"codec: h264", "size: 32 x 16", "average_rate: 12", "declared_frames: 3"} <= set(lines)
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


@pytest.fixture
def results(cli, tmp_path, tiny_model):
    for name, count in (("one", 2), ("two", 3)):
        (tmp_path / "clips" / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (24, 16), (9 * number, 0, 0)).save(
                tmp_path / "clips" / name / f"{number}.png"
            )
    chosen = ["--model", tiny_model, "--device", "cpu", "--threads", 1, "--out", "results"]
    assert cli("decompose", "clips", "-r", *chosen)[0] == 0
    return tmp_path / "results"


def test_results_are_described_and_not_their_pictures(cli, results):
    code, out, _ = cli("info", "results/two")
    assert code == 0
    lines = out.splitlines()
    assert {"kind: result", "status: ok", "frames: 3", "size: 24 x 16", "model: tiny-model"} <= set(
        lines
    )
    assert any(line.startswith("files: ") and "masks/" in line for line in lines)
    facts = json.loads(cli("--json", "info", "results")[1])
    assert (facts["kind"], facts["results"], facts["frames"]) == ("results", 2, 5)
    assert facts["status"] == {"ok": 2}
    assert facts["folders"]["one"] == "ok, 2 frames"
    # Clips and results below one folder.
    facts = json.loads(cli("--json", "info", ".")[1])
    assert (facts["kind"], facts["clips"], facts["results"]) == ("clips", 2, 2)
    assert json.loads(cli("--json", "info", "clips/one")[1])["kind"] == "clip"


def test_a_terminal_shows_a_frame_and_others_do_not(results):
    half = "\N{UPPER HALF BLOCK}"
    given = (results.parent, ["info", "results/two"])
    code, sent = run_on_terminal(*given, COLORTERM="truecolor")
    assert (code, sent.count(half)) == (0, 24 * 8)  # a clip of 24 x 16 pixels
    assert re.search(r"\x1b\[38;2;\d+;\d+;\d+;48;2;\d+;\d+;\d+m", sent)
    assert "in frames" in without_codes(sent)


@pytest.mark.parametrize(
    ("settings", "shows"),
    [
        ({"COLORTERM": "truecolor"}, True),
        ({}, True),  # xterm-256color
        ({"COLORTERM": "truecolor", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_images_are_for_terminals_with_colours(monkeypatch, settings, shows):
    for name in ("COLORTERM", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"TERM": "xterm-256color"} | settings).items():
        monkeypatch.setenv(name, value)
    terminal = TextIOWrapper(BytesIO(), encoding="utf-8")
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout", terminal)
    assert console.shows_images() is shows
    monkeypatch.setattr("sys.stdout", TextIOWrapper(BytesIO(), encoding="ascii"))
    assert not console.shows_images()


def test_the_objects_of_a_result_are_a_table(cli, results):
    code, out, _ = cli("info", "results/two")
    assert (code, "\N{UPPER HALF BLOCK}" in out) == (0, False)
    table = out.partition("objects:\n")[2].splitlines()
    assert table[0].split() == ["ID", "area", "in", "frames", "first", "last", "confidence"]
    facts = json.loads(cli("--json", "info", "results/two")[1])
    shown = [own for own in facts["objects"] if own["frames_present"]]
    assert [row.split()[0] for row in table[1 : 1 + len(shown)]] == [str(o["id"]) for o in shown]
    absent = [own for own in facts["objects"] if not own["frames_present"]]
    assert all(own["first_time"] is None for own in absent)
    assert (f"{len(absent)} slots took no pixel." in out) == bool(absent)


def test_a_damaged_result_is_said(cli, results):
    (results / "one/result.json").write_text("{")
    code, out, err = cli("info", "results/one")
    assert (code, out) == (65, "")
    assert "result.json is damaged" in err
    facts = json.loads(cli("--json", "info", "results")[1])
    assert facts["status"] == {"damaged": 1, "ok": 1}


def test_models_are_described_by_name_and_by_folder(cli, tiny_model, tmp_path):
    code, out, _ = cli("info", "slotdiffusion-movi-d")
    assert code == 0
    assert {"kind: slot_model", "name: slotdiffusion-movi-d", "weights: none"} <= set(
        out.splitlines()
    )
    facts = json.loads(cli("--json", "info", "tiny-64")[1])
    assert facts["weights"].endswith("tiny-64/weights.safetensors")
    assert len(facts["sha256"]) == 64
    assert json.loads(cli("--json", "info", tiny_model)[1])["name"] == "tiny-model"
    cli("config", "init", "mine.toml")
    assert json.loads(cli("--json", "info", "mine.toml")[1])["name"] == "mine"
    code, out, err = cli("info", "tiny-46")
    assert (code, out) == (66, "")
    assert "slotcli models list" in err


def test_a_run_is_described(cli, tmp_path, tiny_codec_spec):
    write_run_facts(tmp_path / "run", tiny_codec_spec, ["slotcli", "pretrain"], 0, "fp32")
    facts = json.loads(cli("--json", "info", "run")[1])
    assert (facts["kind"], facts["name"], facts["ended"]) == ("training run", "tiny-codec", False)
    assert facts["last_logged_step"] is None
    (tmp_path / "run/log.jsonl").write_text('{"step": 2, "loss": 0.5}\n')
    code, out, _ = cli("info", "run")
    assert code == 0
    assert {"last_logged_step: 2", "last_row.loss: 0.5", "steps: 4", "starts: 1"} <= set(
        out.splitlines()
    )


@pytest.mark.parametrize("command", [["info"], ["models", "show"], ["config", "show"]])
def test_a_model_of_nearly_that_name_is_meant(cli, command):
    code, _, err = cli(*command, "tiny-46")
    assert code == 66
    assert "Did you mean tiny-64?" in err
    assert "Did you mean" not in cli(*command, "clips/absent.mp4")[2]
