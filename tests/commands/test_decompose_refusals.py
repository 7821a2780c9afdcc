"""Bad input, bad places and bad models: the right exit code, two lines, and nothing left behind."""

import json
import resource
import shutil

import pytest
import torch
from made_clips import assert_refused, make_clip, make_sound, mask_files, tree

from slotcli.checkpoint import DEFINITION, WEIGHTS, find_model, read_tensors, save_model
from slotcli.definition import parse_spec, spec_json

pytestmark = pytest.mark.slow

ON = ["--device", "cpu", "--threads", "1"]


@pytest.fixture
def refused(cli, tiny_model, tmp_path):
    """Run a command that has to fail; its exit code and what it said."""

    def run(*arguments):
        before = tree(tmp_path)
        code, out, err = cli(*arguments)
        assert_refused(err)
        assert out == ""
        assert tree(tmp_path) == before
        return code, err

    return run


@pytest.fixture
def decompose(refused, tiny_model):
    def run(clip, *options, out="new/out"):
        given = ["--model", tiny_model] if "--model" not in options else []
        return refused("decompose", clip, "--out", out, *given, *ON, *options)

    return run


def test_what_is_no_video(decompose, tmp_path):
    (tmp_path / "text.mp4").write_text("not a video at all\n" * 50)
    (tmp_path / "zero.mp4").write_bytes(b"")
    make_sound(tmp_path / "sound.mp4")
    (tmp_path / "empty").mkdir()
    assert decompose("absent.mp4")[0] == 66
    assert decompose("n" * 300 + ".mp4")[0] == 66
    assert decompose("empty")[0] == 66
    assert decompose("text.mp4/inside.mp4")[0] == 66
    assert decompose("text.mp4")[0] == 65
    assert decompose("zero.mp4")[0] == 65
    code, err = decompose("sound.mp4")
    assert code == 65
    assert "no video stream" in err


def test_more_pixels_than_allowed(decompose, tmp_path):
    make_clip(tmp_path / "a.mp4", 1, (48, 64))
    assert decompose("a.mp4", "--max-pixels", 48 * 64 - 1)[0] == 65


def test_a_cut_off_file_keeps_what_decoded(cli, tiny_model, tmp_path):
    whole = make_clip(tmp_path / "whole.mp4", 20, (64, 64), movflags="+faststart").read_bytes()
    assert whole.index(b"moov") < whole.index(b"mdat") < len(whole) - 400
    (tmp_path / "half.mp4").write_bytes(whole[:-400])
    code, out, err = cli("decompose", "half.mp4", "--out", "out", "--model", tiny_model, *ON)
    assert code == 3
    assert_refused(err)
    assert "out/half.mp4: " in out
    told = json.loads((tmp_path / "out/half.mp4/result.json").read_text())
    assert told["status"] == "degraded"
    assert told["coverage"] < 0.98
    assert told["warnings"]
    assert 1 <= told["counts"]["frames"] < 20
    assert len(mask_files(tmp_path / "out/half.mp4/masks")) == told["counts"]["frames"]
    assert "Warnings" in (tmp_path / "out/half.mp4/report.html").read_text()


def test_wrong_command_lines(refused, decompose, tmp_path):
    make_clip(tmp_path / "a.mp4", 1)
    assert decompose("a.mp4", "--no-such-option")[0] == 2
    assert refused("decompose")[0] == 2
    assert refused("no-such-command")[0] == 2
    assert decompose("a.mp4", "--chunk", 0)[0] == 2
    assert decompose("a.mp4", "--fit", "stretch")[0] == 2
    assert decompose("a.mp4", "--masks", "gif")[0] == 2
    assert decompose("a.mp4", "--background", "sky")[0] == 2
    assert decompose("a.mp4", "--background", 0)[0] == 2
    assert decompose("a.mp4", "--background", 5)[0] == 2
    assert decompose("a.mp4", "--background", "1,5")[0] == 2
    assert decompose("a.mp4", "--background", "1,")[0] == 2
    assert decompose("a.mp4", "--min-area", "-1")[0] == 2
    for size in ("0", "x", "96x", "1x2x3", "9999", "-32", "big"):
        assert decompose("a.mp4", "--size", size)[0] == 2
    # This model takes frames of one size.
    for asked in (["--size", "64"], ["--size", "64x96"], ["--fit", "keep"]):
        code, err = decompose("a.mp4", *asked)
        assert code == 2
        assert f"{' '.join(asked)}: this model takes frames of 32x32 only." in err
    assert decompose("a.mp4", "--device", "toaster")[0] == 2
    make_clip(tmp_path / "b.mp4", 1)
    # What is wrong for every clip is said once.
    assert decompose("a.mp4", "b.mp4", "--background", 5)[0] == 2


def test_wrong_keys_of_a_definition(refused, tmp_path):
    good = (find_model("tiny-64") / DEFINITION).read_text()
    (tmp_path / "model.toml").write_text(f"sizes = [32, 32]\n{good}")
    code, err = refused("train", "--config", "model.toml", "--out", "run")
    assert code == 78
    assert "sizes" in err
    given = ["train", "--config", "tiny-64", "--out", "run", "--set"]
    code, err = refused(*given, "train.stops=3")
    assert code == 78
    assert "train.stops" in err
    assert refused(*given, "train.steps")[0] == 78


def test_models_that_are_none(decompose, tiny_codec, tiny_model, tmp_path):
    make_clip(tmp_path / "a.mp4", 1)
    assert decompose("a.mp4", "--model", "no-such-model")[0] == 66
    (tmp_path / "bare").mkdir()
    assert decompose("a.mp4", "--model", "bare")[0] == 69
    (tmp_path / "text").write_text("weights")
    assert decompose("a.mp4", "--model", "text")[0] == 65
    assert decompose("a.mp4", "--model", tiny_codec)[0] == 2
    shutil.copy(tiny_model / WEIGHTS, tmp_path / "half")
    with (tmp_path / "half").open("r+b") as file:
        file.truncate(5000)
    assert decompose("a.mp4", "--model", "half")[0] == 65


def test_places_that_cannot_be_written(decompose, tmp_path):
    make_clip(tmp_path / "a.mp4", 1)
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "loop").symlink_to("loop")
    for out in ("file", "file/below", "/dev/full/out", "loop/out", "n" * 300, "new/" + "n" * 300):
        assert decompose("a.mp4", out=out)[0] in (73, 74), out
    assert decompose("a.mp4", out="/proc/new/out")[0] in (73, 77)


@pytest.mark.parametrize("limit", [100, 600, 1400, 2000, 4000, 7000])
def test_a_disk_that_takes_no_more(decompose, tmp_path, limit):
    make_clip(tmp_path / "a.mp4", 8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        code, _ = decompose("a.mp4", "--masks", "png", "--masks", "ffv1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 74


@pytest.mark.parametrize(
    ("prefix", "frame"), [("encoder.readout.3.", 0), ("encoder.predictor.", 1)]
)
def test_slots_that_are_no_numbers(decompose, tiny_model, tmp_path, prefix, frame):
    make_clip(tmp_path / "a.mp4", 3)
    tensors, metadata = read_tensors(tiny_model / WEIGHTS)
    touched = [name for name in tensors if name.startswith(prefix)]
    assert touched
    for name in touched:
        # Finite, as far as a loader can see.
        tensors[name] = torch.full_like(tensors[name], 3e38)
    spec = parse_spec(metadata["spec"], "test")
    save_model(tmp_path / "huge.safetensors", spec, tensors, 0, {})
    code, err = decompose("a.mp4", "--model", "huge.safetensors")
    assert code == 70
    assert f"Frame {frame}:" in err
    assert spec_json(spec) == metadata["spec"]
