import json

import numpy as np
import pytest

from slotcli.evaluation.audit import audit
from slotcli.evaluation.segmenter import Segmenter

ON = ["--device", "cpu", "--threads", "1", "--clips", "2", "--frames", "2"]


def _follows_colour(self, frames):
    """A segmenter that cannot be caught: every pixel's slot is its own brightness."""
    return (frames.numpy()[:, :, 0] // 64).astype(np.uint8)


def _halves(self, frames):
    b, t, _, h, w = frames.shape
    return np.broadcast_to((np.arange(w) >= w // 2).astype(np.uint8), (b, t, h, w)).copy()


@pytest.fixture
def videos(cli, tmp_path):
    """A folder as data synth writes it, of 4 short clips."""
    made = "data synth clips --tier A --clips 4 --frames 3 --size 32 --device cpu --threads 1"
    assert cli(*made.split())[0] == 0
    return tmp_path / "clips"


def test_a_model_that_divides_places_fails_with_exit_code_3(cli, tiny_model, monkeypatch):
    monkeypatch.setattr(Segmenter, "__call__", _halves)
    code, out, err = cli("audit", "--model", tiny_model, "--data", "synth:A", *ON)
    assert code == 3
    assert "slots are places" in out
    assert "did not pass" in err


def test_a_model_that_follows_the_picture_passes(cli, tiny_model, videos, monkeypatch):
    monkeypatch.setattr(Segmenter, "__call__", _follows_colour)
    code, out, err = cli(
        "--json", "audit", "--model", tiny_model, "--data", videos, *ON, "--clips", 4
    )
    scores = json.loads(out)
    assert (code, scores["passed"], scores["clips"]) == (0, True, 4), err


def test_any_folder_of_videos_will_do_and_bad_ones_are_named(cli, tiny_model, videos):
    folder = videos / "videos"
    (folder / "A-0.mp4").write_bytes(b"not a video")
    code, out, err = cli("--json", "audit", "--model", tiny_model, "--data", folder, *ON)
    assert code == 3
    assert "left out: A-0.mp4" in err
    assert json.loads(out)["clips"] == 2


def test_too_few_frames_is_no_input(cli, tiny_model, videos):
    code, _, err = cli(
        "audit", "--model", tiny_model, "--data", videos / "videos", *ON, "--frames", 9
    )
    assert code == 66
    assert "9 frames" in err


@pytest.mark.parametrize(
    ("data", "expected"), [("synth:Q", 2), ("no-such-folder", 66), ("empty", 66)]
)
def test_data_that_is_not_there(cli, tiny_model, tmp_path, data, expected):
    (tmp_path / "empty").mkdir()
    code, _, err = cli("audit", "--model", tiny_model, "--data", data, *ON)
    assert code == expected
    assert data in err


def test_a_codec_cannot_be_audited(cli, tiny_codec):
    code, _, err = cli("audit", "--model", tiny_codec, *ON)
    assert code == 2
    assert "codec" in err


def test_the_command_reports_what_the_library_computes(cli, tiny_model):
    import torch

    from slotcli.checkpoint import load_model
    from slotcli.data.datasets import VALIDATION_SEEDS
    from slotcli.data.scenes import render_clip

    code, out, _ = cli("--json", "audit", "--model", tiny_model, "--data", "synth:A", *ON)
    clips = [render_clip(VALIDATION_SEEDS + i, "A", 2, (32, 32)).frames for i in range(2)]
    segment = Segmenter(load_model(str(tiny_model)).module, torch.device("cpu"))
    scores = audit(segment, torch.stack(clips), 4, shift=6)
    reported = json.loads(out)
    assert code == 3
    assert scores.as_dict().items() <= reported.items()
