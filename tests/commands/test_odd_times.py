"""Clips whose clocks are far off, late, lost or declared wrongly: the data is complete."""

import csv
import json
import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest
from made_clips import assert_refused, make_clip
from odd_clips import coded
from PIL import Image

from slotcli.errors import UnavailableError
from slotcli.tracks.masks import read_masks
from slotcli.tracks.slot_file import read_slot_file
from slotcli.video.reader import ClipReader

pytestmark = pytest.mark.slow

ON = ["--device", "cpu", "--threads", "1"]
DATA = ["--masks", "png", "--masks", "ffv1", "--masks", "npz"]


@pytest.fixture
def made(ffmpeg, tmp_path):
    """A second of ten frames, or what `arguments` say instead, made by ffmpeg."""
    source = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=1", "-pix_fmt", "yuv420p"]

    def make(name, *arguments, source=source):
        command = [ffmpeg, "-v", "error", "-y", *source, *map(str, arguments), tmp_path / name]
        subprocess.run(command, check=True, timeout=240)
        return tmp_path / name

    return make


@pytest.fixture
def told(cli, tiny_model, tmp_path):
    """The result.json of a clip, whose data has all `frames`."""

    def run(name, frames, *options, code=0):
        given = ["decompose", name, "--out", "out", "--model", tiny_model, *ON, *DATA, *options]
        ended, _, err = cli(*given)
        assert ended == code, err
        folder = tmp_path / "out" / name
        found = json.loads((folder / "result.json").read_text())
        assert found["counts"]["frames"] == frames
        slots = read_slot_file(folder / "clip.slots.safetensors")
        assert len(slots.pts) == frames
        assert (np.diff(slots.pts) > 0).all()
        masks = list(read_masks(folder / "masks.mkv"))
        np.testing.assert_array_equal(masks, list(read_masks(folder / "masks")))
        assert len(masks) == frames
        return found

    return run


def times(path):
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


def track_times(folder):
    with (folder / "tracks.csv").open() as file:
        return sorted({float(row["time"]) for row in csv.DictReader(file)})


@pytest.mark.parametrize("offsets", [(100, 0), (0, 80000), (80000, 0), (0, 80000, 100)])
def test_recordings_one_behind_another(made, told, tmp_path, offsets):
    parts = [made(f"{offset}.ts", "-output_ts_offset", offset) for offset in offsets]
    (tmp_path / "j.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    found = told("j.ts", 10 * len(offsets))
    assert found["status"] == "ok"
    shown = times(tmp_path / "out/j.ts/overlay.mp4")
    assert len(shown) == 10 * len(offsets)
    assert shown[0] == 0
    retimed = [warning for warning in found["warnings"] if warning.startswith("overlay.mp4")]
    if offsets == (80000, 0):  # across the clock's 26.5 h, which is less than MP4 can hold
        assert retimed == []
    else:
        assert "each is shown for 1 s" in retimed[0]
        assert shown[10] == pytest.approx(1.9)


@pytest.mark.parametrize(
    ("pts", "tick"),
    [
        ([0, 1, 2, 7200, 7201, 10**6], "1/1"),
        ([0, 10**8, 2 * 10**8, 9 * 10**12, 9 * 10**12 + 1], "1/1000000000"),
        ([-(10**7), -5, 0, 3, 3600 * 10**6], "1/1000000"),
        ([3 * 10**9, 3 * 10**9 + 100, 3 * 10**9 + 10**8], "1/1000"),
    ],
)
def test_coarse_fine_negative_and_far(told, tmp_path, pts, tick):
    """NUT keeps any time base."""
    coded(tmp_path / "c.nut", len(pts), codec="ffv1", pts=pts, tick=Fraction(tick))
    found = told("c.nut", len(pts))
    assert found["status"] == "ok"
    slots = read_slot_file(tmp_path / "out/c.nut/clip.slots.safetensors")
    base = Fraction(*found["source"]["time_base"])
    seconds = [float((t - int(slots.pts[0])) * base) for t in slots.pts.tolist()]
    wanted = [float((t - pts[0]) * Fraction(tick)) for t in pts]
    assert seconds == pytest.approx(wanted, rel=1e-6, abs=2e-6)
    assert len(times(tmp_path / "out/c.nut/overlay.mp4")) == len(pts)


def test_backward_and_doubled_times(made, told, tmp_path):
    """Timestamps of a recorder that jumps: MPEG-TS carries them as they are."""
    same = "if(eq(mod(N,3),2),PREV_OUT{0}-if(eq(N,5),9000,0),{0})"
    doubled = f"setts=pts='{same.format('PTS')}':dts='{same.format('DTS')}'"
    made("d.ts", "-c:v", "mpeg2video", "-bf", "0", "-bsf:v", doubled)
    found = told("d.ts", 10)
    assert found["status"] == "ok"


@pytest.mark.parametrize(
    ("name", "rate", "options"),
    [
        ("a.h264", "10", []),
        (
            "b.hevc",
            "24000/1001",
            ["-c:v", "libx265", "-x265-params", "log-level=0:pools=none:frame-threads=1"],
        ),
        ("c.m2v", "50", []),
        ("d.y4m", "10", []),
        ("e.ivf", "10", ["-c:v", "libvpx"]),
    ],
)
def test_streams_without_a_container_are_timed_by_their_own_headers(
    made, told, tmp_path, name, rate, options
):
    source = ["-f", "lavfi", "-i", f"testsrc2=s=64x48:r={rate}:d=0.5", "-pix_fmt", "yuv420p"]
    made(name, *options, source=source)
    frames = round(0.5 * float(Fraction(rate)))
    told(name, frames)
    wanted = [float(index / Fraction(rate)) for index in range(frames)]
    assert track_times(tmp_path / "out" / name) == pytest.approx(wanted, abs=1e-4)
    assert times(tmp_path / "out" / name / "overlay.mp4") == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "begin"),
    [
        ("x.ts", ["-f", "mpegts"], 1.5),
        ("x.mkv", ["-output_ts_offset", "70"], 70),
        ("x.mp4", ["-output_ts_offset", "5"], 5),
    ],
)
def test_start_and_end_count_from_the_first_frame(made, told, cli, tmp_path, name, options, begin):
    made(name, "-bf", "0", *options)
    told(name, 3, "--start", "0.2", "--end", "0.5")
    folder = tmp_path / "out" / name
    assert track_times(folder) == pytest.approx([0.2, 0.3, 0.4])
    slots = read_slot_file(folder / "clip.slots.safetensors")
    assert slots.frame_index.tolist() == [2, 3, 4]
    assert times(folder / "overlay.mp4") == pytest.approx([0, 0.1, 0.2])
    source = json.loads(cli("--json", "info", name)[1])
    assert source["start_seconds"] == pytest.approx(begin, abs=0.21)
    first = int(slots.pts[0]) * Fraction(source["time_base"])
    assert float(first) == pytest.approx(source["start_seconds"] + 0.2, abs=1e-3)


def test_a_declared_length_refuses_nothing(made, told, monkeypatch, tmp_path):
    """Hours declared, twenty frames there, and little disk."""
    for offset in (0, 80000):
        made(f"{offset}.ts", "-output_ts_offset", offset)
    both = (tmp_path / "0.ts").read_bytes() + (tmp_path / "80000.ts").read_bytes()
    (tmp_path / "k.ts").write_bytes(both)
    monkeypatch.setattr("slotcli.decomposition.estimate.free_disk", lambda folder: 10**6)
    told("k.ts", 20)


def test_frames_that_are_not_in_the_file_do_not_count_for_the_disk(told, monkeypatch, tmp_path):
    whole = make_clip(tmp_path / "w.mp4", 600, movflags="+faststart").read_bytes()
    (tmp_path / "h.mp4").write_bytes(whole[: whole.index(b"mdat") + 9000])
    monkeypatch.setattr("slotcli.decomposition.estimate.free_disk", lambda folder: 400_000)
    with av.open(str(tmp_path / "h.mp4")) as container:
        assert container.streams.video[0].frames == 600
    frames = len(times_there(tmp_path / "h.mp4"))
    found = told("h.mp4", frames, code=3)
    assert found["status"] == "degraded"
    assert "frames that the file declares are not in it" in " ".join(found["warnings"])


def times_there(path):
    with ClipReader(path) as reader:
        return [int(t) for chunk in reader.chunks(16) for t in chunk.pts]


def test_a_lossless_cut_is_ok_for_decompose_and_for_data_check(made, told, cli, ffmpeg, tmp_path):
    source = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=4", "-pix_fmt", "yuv420p"]
    made("t.mp4", "-g", "20", source=source)
    made("e.mp4", "-c", "copy", source=["-ss", "1.55", "-t", "1.2", "-i", str(tmp_path / "t.mp4")])
    found = told("e.mp4", 14, "--strict")
    assert (found["status"], found["warnings"]) == ("ok", [])
    (tmp_path / "cut").mkdir()
    (tmp_path / "e.mp4").rename(tmp_path / "cut/e.mp4")
    code, _, err = cli("data", "check", tmp_path / "cut")
    assert code == 0, err


def test_an_overlay_that_no_encoder_takes_is_left_out(told, monkeypatch, tmp_path):
    def refuse(*_: object) -> None:
        raise UnavailableError("The encoder refused it.", "Leave it out.")

    make_clip(tmp_path / "a.mp4", 6)
    monkeypatch.setattr("slotcli.report.overlay.OverlayWriter.write", refuse)
    found = told("a.mp4", 6)
    assert found["status"] == "ok"
    assert found["warnings"] == ["overlay.mp4 was left out. The encoder refused it."]
    assert not (tmp_path / "out/a.mp4/overlay.mp4").exists()
    assert 'overlay.mp4"' not in (tmp_path / "out/a.mp4/report.html").read_text()


def test_lossless_masks_of_a_real_size(made, told):
    source = ["-f", "lavfi", "-i", "testsrc2=s=640x360:r=10:d=0.3", "-pix_fmt", "yuv420p"]
    made("c.mp4", source=source)
    told("c.mp4", 3)


def test_photos_and_videos_with_exif_end_no_batch(cli, tiny_model, made, tmp_path):
    exif = Image.Exif()
    exif[271], exif[274] = "P", 6
    (tmp_path / "in").mkdir()
    Image.new("RGB", (64, 48), (90, 20, 20)).save(tmp_path / "p.jpg", exif=exif)
    loop = ["-framerate", "10", "-loop", "1", "-t", "0.5", "-i", str(tmp_path / "p.jpg")]
    for name in ("b.avi", "b.mov"):
        made(f"in/{name}", "-c", "copy", source=loop)
    make_clip(tmp_path / "in/a.mp4", 4)
    make_clip(tmp_path / "in/c.mp4", 4)
    code, _, err = cli("decompose", "in", "--out", "out", "--model", tiny_model, *ON)
    assert code == 0, err
    counts = json.loads((tmp_path / "out/summary.json").read_text())["counts"]
    assert counts == {"ok": 4}
    assert cli("decompose", "in", "--out", "o", "--dry-run", "--model", tiny_model, *ON)[0] == 0
    assert cli("data", "index", "in")[0] == 0
    assert cli("decompose", "p.jpg", "--out", "photo", "--model", tiny_model, *ON)[0] == 0
    told = json.loads((tmp_path / "photo/p.jpg/result.json").read_text())
    assert told["source"]["size"] == [64, 48]


def test_a_stretch_beyond_the_end_is_refused(cli, tiny_model, made):
    made("x.ts", "-f", "mpegts")
    code, _, err = cli("decompose", "x.ts", "--start", "1.2", "--out", "o", "--model", tiny_model)
    assert code == 66
    assert_refused(err)
