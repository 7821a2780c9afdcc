"""train on a folder as people have them: every container, pictures, a broken file, sound alone."""

import json

from made_clips import make_clip, make_images, make_sound
from odd_clips import animation, coded, cut
from test_train_seeds import DEFINITION


def test_mixed_containers_with_broken_ones_among_them(cli, tmp_path):
    folder = tmp_path / "clips"
    make_clip(folder / "h264.mp4", 6)
    coded(folder / "vp9.webm", codec="libvpx-vp9")
    coded(folder / "ffv1.mkv", codec="ffv1")
    coded(folder / "mjpeg.avi", codec="mjpeg", pixel_format="yuvj420p")
    coded(folder / "mpeg4.mov", codec="mpeg4", size=(50, 42))
    make_images(folder / "pictures", 5)
    animation(folder / "moving.gif")
    cut(make_clip(folder / "broken.mp4", 6), 0.3)
    make_sound(folder / "sound.mp4")
    (folder / "notes.txt").write_text("not a clip")
    (tmp_path / "model.toml").write_text(DEFINITION)
    given = ["--config", "model.toml", "--data", folder, "--device", "cpu", "--threads", 1]
    code, out, err = cli("--json", "train", *given, "--out", "run", "--set", "train.steps=8")
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[-1]["step"] == 8
    assert all(row["loss"] > 0 and 0 <= row["data_wait"] <= 1 for row in rows)
    for name in ("broken.mp4", "sound.mp4"):
        assert err.count(f"left out: {folder / name}: ") == 1
    assert "2 of 9 clips cannot be read" in err
    assert "7 clips, on cpu" in err
    for name in ("h264", "webm", "mkv", "avi", "mov", "pictures", "gif", "notes"):
        assert f"left out: {folder / name}" not in err
    header = (tmp_path / "run" / "log.csv").read_text().splitlines()[0]
    assert "data_wait" in header.split(",")
