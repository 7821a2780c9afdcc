"""A folder as people have it: every command takes the same clips of it, and says what it left."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from made_clips import make_clip, make_images, pictures
from PIL import Image
from test_train_seeds import DEFINITION

from slotcli.data.recognise import recognise
from slotcli.evaluation.sources import open_source

pytestmark = pytest.mark.slow

QUICK = ["--device", "cpu", "--threads", "1", "--chunk", "4", "--no-overlay"]


def pages(path: Path, count: int = 3, **options: object) -> None:
    images = [Image.fromarray(picture) for picture in pictures(count, (40, 40))]
    images[0].save(path, save_all=True, append_images=images[1:], **options)


@pytest.fixture
def messy(tmp_path: Path) -> set[str]:
    """Fills `in`; returns the clips in it."""
    folder = tmp_path / "in"
    make_clip(folder / "a.mp4", 4)
    make_clip(folder / "deep/b.MP4", 4)
    make_clip(folder / "recording", 4)
    make_images(folder / "shots", 3)
    pages(folder / "stack.tif")
    (folder / "stack.jpg").write_bytes((folder / "shots/0.png").read_bytes())
    (folder / "._a.mp4").write_bytes(b"\0\5\26\7")
    (folder / ".Trash").mkdir()
    make_clip(folder / ".Trash/c.mp4", 2)
    Image.fromarray(pictures(1, (40, 40))[0]).save(folder / "a.webp")
    (folder / "notes.txt").write_text("no clip")
    elsewhere = tmp_path / "elsewhere"
    make_clip(elsewhere / "d.mkv", 5)
    (folder / "linked").symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "loop").symlink_to(folder, target_is_directory=True)
    return {"a.mp4", "deep/b.MP4", "recording", "shots", "stack.tif", "linked/d.mkv"}


def test_all_commands_take_the_same_clips(cli, tiny_model, tmp_path, messy):
    folder = tmp_path / "in"
    given = ["decompose", "in", "-r", "--model", tiny_model, *QUICK]
    # Results in the folder itself, which nobody may take for clips afterwards.
    code, _, err = cli(*given, "--out", "in/results")
    assert code == 0, err
    assert "not taken" in err
    assert "2 hidden" in err
    assert "2 beside videos or other images" in err
    assert "1 not a video or an image" in err
    done = json.loads((folder / "results/summary.json").read_text())
    assert {str(Path(row["source"]).relative_to("in")) for row in done["clips"]} == messy
    subprocess.run(["cp", "-r", folder / "results/a.mp4", folder / "moved away"], check=True)
    os.rename(folder / "results/shots/masks", folder / "m")

    code, out, _ = cli("--json", *given, "--out", "out", "--dry-run")
    rows = [json.loads(line) for line in out.splitlines()]
    assert {str(Path(row["source"]).relative_to("in")) for row in rows if "source" in row} == messy
    [not_taken] = [row for row in rows if "not_taken" in row]
    assert not_taken["not_taken"]["made by slotcli"] >= 2
    assert not_taken["paths"]["in/m/00000.png"] == "masks or annotations"

    code, out, _ = cli("--json", "data", "index", "in")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, rows[-1]["clips"]) == (0, len(messy))

    assert recognise(folder) == "folder"
    source = open_source(str(folder), clips=9, frames=2, size=(32, 32), first_seed=0)
    assert set(source.names) == messy

    (tmp_path / "model.toml").write_text(DEFINITION)
    given = ["--config", "model.toml", "--data", "in", "--device", "cpu", "--threads", 1]
    code, _, err = cli("-v", "train", *given, "--out", "run", "--set", "train.steps=1")
    assert code == 0, err
    assert f"{len(messy)} clips, on cpu" in err
    assert "in/._a.mp4: hidden" in err
    assert "in/results/a.mp4: made by slotcli" in err


def test_a_result_of_another_content_is_not_done(cli, tiny_model, tmp_path):
    make_images(tmp_path / "in/shots", 3)
    make_clip(tmp_path / "in/a.mp4", 3)
    given = ["decompose", "in", "-r", "--model", tiny_model, *QUICK, "--out", "out"]
    assert cli(*given)[0] == 0
    _, _, err = cli(*given)
    assert err.count("done already") == 2
    for path in (tmp_path / "in/shots").iterdir():
        pixels = np.asarray(Image.open(path))[::-1]
        Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    code, _, err = cli(*given)
    assert code == 3
    assert "out/shots: exists already: its source has changed since." in err
    assert cli(*given, "--overwrite")[0] == 0
    assert cli(*given)[0] == 0
    result = json.loads((tmp_path / "out/shots/result.json").read_text())
    assert len(result["source"]["sha256"]) == 64


def test_one_of_each_awkward_kind_beside_three_good_clips(cli, tiny_model, tmp_path, ffmpeg):
    folder = tmp_path / "in"
    for name in ("good1.mp4", "good2.mp4", "good3.mp4"):
        make_clip(folder / name, 4)

    def made(name: str, *options: str, source: str = "testsrc2=s=96x64:r=10:d=1") -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [ffmpeg, "-v", "error", "-y", "-f", "lavfi", "-i", source]
        subprocess.run([*command, "-pix_fmt", "yuv420p", *options, str(path)], check=True)
        return path

    late, early = made("100.ts", "-output_ts_offset", "100"), made("0.ts")
    (folder / "joined.ts").write_bytes(late.read_bytes() + early.read_bytes())
    whole = made("whole.mp4", "-g", "20", source="testsrc2=s=96x64:r=10:d=4")
    cut = [ffmpeg, "-v", "error", "-y", "-ss", "1.55", "-t", "1.2", "-i", str(whole)]
    subprocess.run([*cut, "-c", "copy", str(folder / "cut.mp4")], check=True)
    for name in ("raw.h264", "b.m2ts", "c.mxf", "d.vob", "e.y4m", "f.gif"):
        made(name, source="testsrc2=s=96x64:r=25:d=0.3")
    made("ppm/%d.ppm")
    pages(folder / "stack.tif")
    (folder / "wide").mkdir()
    for number in range(3):
        values = np.arange(1600, dtype=np.uint16).reshape(40, 40) * 2 + number
        Image.fromarray(values).save(folder / "wide" / f"{number}.png")
    exif = Image.Exif()
    exif[271] = "P"
    photo = tmp_path / "photo.jpg"
    Image.fromarray(pictures(1, (48, 64))[0]).save(photo, exif=exif)
    command = [ffmpeg, "-v", "error", "-framerate", "10", "-loop", "1", "-t", "0.5", "-i"]
    subprocess.run([*command, str(photo), "-c", "copy", str(folder / "exif.avi")], check=True)
    (folder / "empty.mp4").touch()
    (folder / "text.mkv").write_text("no video")
    (folder / "bad images").mkdir()
    (folder / "bad images/1.png").write_text("no image")
    (folder / "._good1.mp4").write_bytes(b"\0")
    (folder / "good1.webp").write_bytes(photo.read_bytes())

    code, _, err = cli("decompose", "in", "-r", "--model", tiny_model, *QUICK, "--out", "out")
    assert code == 3
    rows = json.loads((tmp_path / "out/summary.json").read_text())["clips"]
    status = {Path(row["source"]).name: row["status"] for row in rows}
    sound = {"good1.mp4", "good2.mp4", "good3.mp4", "100.ts", "0.ts", "whole.mp4", "raw.h264"}
    sound |= {"b.m2ts", "c.mxf", "d.vob", "e.y4m", "f.gif", "ppm", "stack.tif", "wide"}
    assert {name for name in sound if status[name] != "ok"} == set()
    assert {"empty.mp4", "text.mkv", "bad images"} <= {
        name for name, known in status.items() if known == "failed"
    }
    assert set(status) == sound | {
        *("joined.ts", "cut.mp4", "exif.avi", "empty.mp4", "text.mkv", "bad images")
    }
    for row in rows:
        assert row["status"] == "ok" or row["remark"], row
    wide = json.loads((tmp_path / "out/wide/result.json").read_text())
    assert any("12-bit" in warning for warning in wide["warnings"])
    assert "1 hidden" in err
    assert "1 beside videos or other images" in err
