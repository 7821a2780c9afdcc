import json
import re
import subprocess

import numpy as np
import pytest
from PIL import Image

from slotcli.errors import DataError
from slotcli.scenes import render_clip
from slotcli.scenes.folder import VIDEOS, read_index, reserved_for
from slotcli.scenes.seeds import TEST_SEEDS
from slotcli.tracks.masks import read_masks
from slotcli.video.finding import find_clips
from slotcli.video.reader import open_clip

SYNTH = [
    "data",
    "synth",
    "clips",
    "--tier",
    "A",
    "--frames",
    "3",
    "--size",
    "32x48",
    "--device",
    "cpu",
    "--threads",
    "1",
]


def test_masks_are_the_renderers_labels_in_both_kinds_and_the_video_is_timed(cli, ffmpeg, tmp_path):
    code, out, _ = cli(*SYNTH, "--clips", 2, "--seed", 7, "--masks", "png", "--masks", "ffv1")
    assert code == 0
    assert "2 clips rendered" in out
    for seed in (7, 8):
        rendered = render_clip(seed, "A", 3, (32, 48))
        assert rendered.labels is not None
        for path in (f"masks/A-{seed}", f"masks/A-{seed}.mkv"):
            written = np.stack(list(read_masks(tmp_path / "clips" / path)))
            assert (written == rendered.labels.numpy()).all()
        with Image.open(tmp_path / f"clips/masks/A-{seed}/00002.png") as image:
            assert image.mode == "P"
        video = tmp_path / f"clips/videos/A-{seed}.mp4"
        with open_clip(video) as reader:
            chunk = next(reader.chunks(9))
        frames = rendered.frames.permute(0, 2, 3, 1).numpy()
        assert np.abs(chunk.frames.astype(int) - frames).mean() < 5
        copied = [ffmpeg, "-v", "error", "-i", video, "-c", "copy", "-f", "framecrc", "-"]
        out = subprocess.run(copied, capture_output=True, text=True, check=True).stdout
        base = re.search(r"#tb 0: (\d+)/(\d+)", out)
        assert base is not None
        ticks = [int(row.split(",")[2]) for row in out.splitlines() if row[0] != "#"]
        seconds = [tick * int(base[1]) / int(base[2]) for tick in sorted(ticks)]
        assert seconds == pytest.approx([0, 1 / 12, 1 / 6], abs=1e-6)


def test_finished_clips_are_kept_and_only_missing_ones_made(cli, tmp_path):
    assert cli(*SYNTH, "--clips", 1)[0] == 0
    first = tmp_path / "clips/videos/A-0.mp4"
    before = first.stat()
    code, out, _ = cli(*SYNTH, "--clips", 2)
    assert (code, "1 clips rendered, 1 existed" in out) == (0, True)
    assert first.stat().st_ino == before.st_ino
    code, out, _ = cli(*SYNTH, "--clips", 1, "--masks", "ffv1")
    assert (code, "1 clips rendered" in out) == (0, True)
    # What was there before is still there beside the new kind of mask.
    assert set(read_index(tmp_path / "clips")["A-0"].masks) == {"png", "ffv1"}
    assert (tmp_path / "clips/masks/A-0/00002.png").is_file()
    assert list(tmp_path.glob("clips/.*")) == []


def test_the_same_seeds_with_other_frames_are_refused_unless_overwritten(cli, tmp_path):
    assert cli(*SYNTH, "--clips", 1)[0] == 0
    other = [word if word != "3" else "2" for word in SYNTH]
    code, _, err = cli(*other, "--clips", 1)
    assert code == 73
    assert "A-0 is there already, with 3 frames" in err
    assert cli(*other, "--clips", 1, "--overwrite")[0] == 0
    # No mask of the longer clip is left over.
    assert len(list(read_masks(tmp_path / "clips/masks/A-0"))) == 2


def test_an_interrupted_run_keeps_what_was_finished(cli, tmp_path, monkeypatch):
    def interrupted(seed, *rest):
        if seed == 2:
            raise KeyboardInterrupt
        return render_clip(seed, *rest)

    monkeypatch.setattr("slotcli.scenes.render_clip", interrupted)
    assert cli(*SYNTH, "--clips", 3)[0] == 130
    assert set(read_index(tmp_path / "clips")) == {"A-0", "A-1"}


def test_held_out_seeds_are_allowed_and_said_to_be_held_out(cli, tmp_path):
    code, out, err = cli("--json", *SYNTH, "--clips", 1, "--seed", TEST_SEEDS)
    assert code == 0
    assert "do not train" in err
    assert json.loads(out)["reserved_for"] == "test"
    index = json.loads((tmp_path / "clips/index.json").read_text())
    assert index["clips"][0]["reserved_for"] == "test"
    assert [reserved_for(10**9 * n) for n in range(4)] == [None, "validation", "test", "samples"]


def test_the_folder_of_videos_holds_no_masks_to_train_on(cli, tmp_path):
    assert cli(*SYNTH, "--clips", 1, "--masks", "png", "--masks", "ffv1")[0] == 0
    names = [path.name for path in find_clips(tmp_path / "clips" / VIDEOS).clips]
    assert names == ["A-0.mp4"]


@pytest.mark.parametrize("wrong", [["--tier", "Z"], ["--size", "0"], ["--size", "64xa"]])
def test_wrong_options_are_usage_errors(cli, tmp_path, wrong):
    code, _, err = cli("data", "synth", "clips", "--device", "cpu", *wrong)
    assert code == 2
    assert wrong[0] in err
    assert not (tmp_path / "clips").exists()


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"schema": "slotcli.synth/2", "clips": []}',
        '{"schema": "slotcli.synth/1", "clips": [{"tier": "../..", "seed": 0, "frames": 1, '
        '"size": [8, 8], "masks": ["png"], "version": "0"}]}',
        '{"schema": "slotcli.synth/1", "clips": [{"tier": "A", "seed": "../x", "frames": 1, '
        '"size": [8, 8], "masks": ["png"], "version": "0"}]}',
    ],
)
def test_a_damaged_index_is_a_data_error(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(DataError, match="no index"):
        read_index(tmp_path)
