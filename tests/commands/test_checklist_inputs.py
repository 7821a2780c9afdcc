"""What a clip can be and what it can be called: lines 1 to 16 of the checklist of bad input.

Each file is made here. A refused clip leaves nothing behind, not even the folder it was to go to;
a kept one leaves its result, and beside several results the summary. Lines 17 to 27 are in
test_checklist_events.py.
"""

import json
import os
import struct
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np
import odd_clips
import pytest
from made_clips import assert_refused, decoded, make_clip, make_images, mask_files, pictures, tree
from odd_clips import coded, cut, injured
from PIL import Image

from slotcli.tracks.slot_file import read_slot_file
from slotcli.types import FLAG_CORRUPT, FLAG_FORMAT_CHANGED, FLAG_TIMING_REPAIRED

pytestmark = pytest.mark.slow

ON = ["--device", "cpu", "--threads", "1"]
SUMMARY = {"summary.json", "summary.csv", "index.html"}
FASTSTART = {"movflags": "+faststart"}


@pytest.fixture
def refused(cli, tiny_model, tmp_path):
    """The exit code and the words that a clip is refused with."""

    def run(clip, *options):
        before = tree(tmp_path)
        given = ["--out", "new/out", "--model", tiny_model, *ON, *options]
        code, out, err = cli("decompose", clip, *given)
        assert_refused(err)
        assert out == ""
        assert tree(tmp_path) == before
        return code, err

    return run


@dataclass(frozen=True)
class Result:
    """A result folder, and what its result.json says."""

    folder: Path
    told: dict

    @property
    def frames(self):
        return self.told["counts"]["frames"]

    @property
    def slot_file(self):
        return read_slot_file(self.folder / "clip.slots.safetensors")

    @property
    def masks(self):
        return mask_files(self.folder / "masks")


@pytest.fixture
def kept(cli, tiny_model, tmp_path):
    """The results of clips whose run ends with `code`: masks of each frame, and nothing else."""
    runs = count()

    def run(*clips, code=0, places=None):
        out = tmp_path / f"out{next(runs)}"
        given = ["--out", out, "--model", tiny_model, *ON, "--", *clips]
        ended, said, err = cli("decompose", *given)
        assert ended == code, err
        assert "Traceback" not in err
        places = places or [Path(clip).name for clip in clips]
        assert len(said.splitlines()) == len(places)
        found = {str(path.parent.relative_to(out)) for path in out.rglob("result.json")}
        assert found == set(places)
        extra = {path.name for path in out.iterdir()} - {Path(name).parts[0] for name in places}
        assert extra == (SUMMARY if len(places) > 1 else set())
        results = [
            Result(out / name, json.loads((out / name / "result.json").read_text()))
            for name in places
        ]
        for result in results:
            assert result.masks.shape == (result.frames, *result.told["source"]["size"])
        return results

    return run


def noisy(count):
    """Frames of which each takes about as many bytes as any other."""
    noise = np.random.default_rng(0).integers(0, 60, (count, 48, 64, 3), np.uint8)
    return pictures(count, (48, 64)) // 2 + noise


def test_01_missing_or_a_folder_called_like_a_clip(refused, kept, tmp_path):
    code, err = refused("absent.mp4")
    assert code == 66
    assert "there is no such file" in err
    (tmp_path / "folder.mp4").mkdir()
    code, err = refused("folder.mp4")
    assert code == 66
    assert "holds no video and no images" in err
    make_images(tmp_path / "images.mp4", 3)
    assert kept("images.mp4")[0].frames == 3


def test_02_no_bytes_text_or_no_index(refused, tmp_path):
    (tmp_path / "zero.mp4").write_bytes(b"")
    code, err = refused("zero.mp4")
    assert code == 65
    assert "zero.mp4 is empty" in err
    (tmp_path / "text.mp4").write_text("not a video at all\n" * 50)
    content = coded(tmp_path / "index.mp4", options=FASTSTART).read_bytes()
    index, media = content.index(b"moov") - 4, content.index(b"mdat") - 4
    (tmp_path / "index.mp4").write_bytes(content[:index] + content[media:])
    for name in ("text.mp4", "index.mp4"):
        code, err = refused(name)
        assert code == 65
        assert f"{name} is not a video that can be read" in err


def test_03_no_stream_no_frame_sound_alone_or_sound_with_a_cover(refused, tmp_path):
    head = struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0)
    movie = struct.pack(">I4sI4s", 116, b"moov", 108, b"mvhd") + bytes(100)
    (tmp_path / "streams.mp4").write_bytes(head + movie)
    odd_clips.music(tmp_path / "sound.mp4")
    odd_clips.music(tmp_path / "cover.mp4", cover=True)
    for name in ("streams.mp4", "sound.mp4", "cover.mp4"):
        code, err = refused(name)
        assert code == 65
        assert f"{name} has no video stream" in err
    content = coded(tmp_path / "frames.mp4", options=FASTSTART).read_bytes()
    (tmp_path / "frames.mp4").write_bytes(content[: content.index(b"mdat") + 4])
    code, err = refused("frames.mp4")
    assert code == 65
    assert "no frame can be decoded" in err


def test_04_a_still_and_an_animation_called_mp4(kept, tmp_path):
    odd_clips.still(tmp_path / "still.mp4")
    odd_clips.animation(tmp_path / "animation.mp4", 10)
    results = kept("still.mp4", "animation.mp4")
    assert [result.frames for result in results] == [1, 10]
    assert [result.told["status"] for result in results] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("faststart.mp4", {"options": FASTSTART}),
        ("matroska.mkv", {}),
        ("fragments.mp4", {"options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("riff.avi", {"codec": "ffv1", "tick": Fraction(1, 10)}),
    ],
)
def test_05_cut_off(kept, refused, tmp_path, name, how):
    cut(coded(tmp_path / name, array=noisy(60), g="12", **how), 0.4)
    (result,) = kept(name, code=3)
    told = result.told
    assert 10 < result.frames < 30
    assert told["status"] == "degraded"
    assert told["coverage"] < 0.75
    lost = "frames that the file declares are not in it."
    assert told["warnings"][-1].endswith(lost)
    code, err = refused(name, "--strict")
    assert code == 65
    assert lost in err


def test_06_damaged_here_and_there_or_all_over(kept, refused, tmp_path):
    how = {"array": noisy(60), "options": FASTSTART, "g": "12"}
    injured(coded(tmp_path / "light.mp4", **how), [0.3, 0.55])
    (light,) = kept("light.mp4")
    counts = light.told["counts"]
    assert counts["frames"] == 60
    assert 0 < counts["corrupt_frames"] <= 0.02 * 60
    flags = light.slot_file.flags
    assert np.count_nonzero(flags & FLAG_CORRUPT) == counts["corrupt_frames"]
    lost = f"{counts['corrupt_frames']} of 60 frames were damaged or lost."
    assert light.told["warnings"] == [lost]
    code, err = refused("light.mp4", "--strict")
    assert code == 65
    assert lost in err

    injured(coded(tmp_path / "heavy.mp4", **how), np.linspace(0.2, 0.9, 40))
    (heavy,) = kept("heavy.mp4", code=3)
    counts = heavy.told["counts"]
    assert heavy.told["status"] == "degraded"
    assert 40 < counts["frames"] <= 60
    assert counts["packet_errors"] >= 60 - counts["frames"]
    assert counts["corrupt_frames"] + counts["packet_errors"] > 0.02 * 60
    assert (np.diff(heavy.slot_file.pts) > 0).all()


def test_07_uneven_negative_and_missing_times(kept, refused, tmp_path):
    how = {"codec": "ffv1", "options": {"avoid_negative_ts": "disabled"}}
    times = {
        "uneven.mkv": [100, 133, 134, 500, 501, 2000],
        "negative.mkv": [-300, -200, -100, 0, 100],
    }
    for name, pts in times.items():
        coded(tmp_path / name, len(pts), pts=pts, **how)
    for result, pts in zip(kept(*times), times.values(), strict=True):
        assert result.told["source"]["time_base"] == [1, 1000]
        assert result.slot_file.pts.tolist() == pts
        assert result.slot_file.duration[:-1].tolist() == np.diff(pts).tolist()
        assert result.told["counts"]["timing_repaired"] == 0
        assert result.told["warnings"] == []
        assert result.told["coverage"] == 1

    coded(tmp_path / "raw.h264", 6, container="h264")
    (raw,) = kept("raw.h264")
    assert raw.told["counts"]["timing_repaired"] == 6
    assert (raw.slot_file.flags & FLAG_TIMING_REPAIRED).all()
    steps = np.diff(raw.slot_file.pts)
    assert (steps == steps[0]).all()
    code, err = refused("raw.h264", "--strict")
    assert code == 65
    assert "6 of 6 frames had no time of their own" in err


def test_08_turned_and_mirrored(kept, tmp_path):
    upright = pictures(4, (48, 64))
    # x' = ax + cy and y' = bx + dy, and what that does to a picture.
    turns = {
        (0, 1, -1, 0): lambda frames: np.rot90(frames, -1, (1, 2)),
        (-1, 0, 0, -1): lambda frames: np.rot90(frames, 2, (1, 2)),
        (0, -1, 1, 0): lambda frames: np.rot90(frames, 1, (1, 2)),
        (-1, 0, 0, 1): lambda frames: frames[:, :, ::-1],
    }
    names = []
    for number, (matrix, turn) in enumerate(turns.items()):
        names += [f"{number}.mp4", f"{number}.mkv"]
        coded(
            tmp_path / names[-2], array=upright, codec="libx264rgb", pixel_format="rgb24", crf="0"
        )
        odd_clips.turned(tmp_path / names[-2], *matrix)
        coded(tmp_path / names[-1], array=turn(upright), codec="ffv1", pixel_format="bgr0")
    results = kept(*names)
    for marked, turned in zip(results[::2], results[1::2], strict=True):
        assert marked.told["source"]["coded_size"] == [48, 64]
        assert marked.told["source"]["size"] == turned.told["source"]["size"]
        np.testing.assert_array_equal(marked.masks, turned.masks)
        assert len(np.unique(marked.masks)) > 1
    told = [result.told["source"] for result in results[::2]]
    assert [facts["rotation"] for facts in told[:3]] == [270, 180, 90]
    assert [facts["flipped"] for facts in told] == [False, False, False, True]


def test_09_pixels_that_are_not_square(kept, tmp_path):
    coded(tmp_path / "wide.mp4", aspect=Fraction(2))
    coded(tmp_path / "tall.mp4", aspect=Fraction(1, 2))
    told = [result.told["source"] for result in kept("wide.mp4", "tall.mp4")]
    assert [facts["coded_size"] for facts in told] == [[48, 64], [48, 64]]
    assert [facts["size"] for facts in told] == [[48, 128], [96, 64]]
    assert [facts["sample_aspect"] for facts in told] == [[2, 1], [1, 2]]


@pytest.mark.parametrize("other", [{"size": (96, 64)}, {"pixel_format": "yuv444p"}])
def test_10_another_size_or_pixel_format_in_mid_stream(kept, refused, tmp_path, other):
    first = coded(tmp_path / "first.h264", 5, container="h264").read_bytes()
    second = coded(tmp_path / "second.h264", 5, container="h264", **other).read_bytes()
    (tmp_path / "both.h264").write_bytes(first + second)
    (result,) = kept("both.h264")
    assert result.told["source"]["size"] == [48, 64]
    flags = result.slot_file.flags
    assert ((flags & FLAG_FORMAT_CHANGED) != 0).tolist() == [False] * 5 + [True] * 5
    said = "5 of 10 frames have another size or pixel format than the first one."
    assert said in result.told["warnings"]
    code, err = refused("both.h264", "--strict")
    assert code == 65
    assert said in err


def test_11_pixel_formats(kept, tmp_path):
    rgba = np.full((4, 48, 64, 4), 255, np.uint8)
    rgba[..., :3] = pictures(4, (48, 64))
    rgba[:, :, :32, 3] = 100
    alpha = {"array": rgba, "array_format": "rgba"}
    hdr = {"color_primaries": 9, "color_trc": 16, "colorspace": 9}
    made = {
        "ten-bit.mkv": {"pixel_format": "yuv420p10le"},
        "hdr.mkv": {"pixel_format": "yuv420p10le", "codec": "libx264", "colour": hdr},
        "full.mp4": {"colour": {"color_range": 2, "colorspace": 1}},
        "gray.mkv": {"codec": "ffv1", "pixel_format": "gray"},
        "qtrle.mov": {"codec": "qtrle", "pixel_format": "argb", **alpha},
        "prores.mov": {"codec": "prores_ks", "pixel_format": "yuva444p10le", **alpha},
    }
    for name, how in made.items():
        coded(tmp_path / name, 4, **how)
    palette = Image.fromarray(pictures(1, (48, 64))[0]).quantize(16)
    palette.save(tmp_path / "palette.mp4", format="PNG")
    results = kept(*made, "palette.mp4")
    formats = [result.told["source"]["pixel_format"] for result in results]
    assert formats[0] == formats[1] == "yuv420p10le"
    assert formats[2] in ("yuv420p", "yuvj420p")
    assert formats[3:5] == ["gray", "argb"]
    assert formats[5].startswith("yuva444p")
    assert formats[6] == "pal8"
    for result in results:
        transparent = result.folder.name in ("qtrle.mov", "prores.mov")
        said = "It is transparent in places: mid-gray was laid behind it."
        assert result.told["warnings"] == ([said] if transparent else [])
        assert result.told["status"] == "ok"


def test_12_odd_tiny_and_very_long_sides(kept, tmp_path):
    sizes = [(95, 127), (1, 1), (4000, 16), (16, 4000)]
    names = [f"{height}x{width}.mkv" for height, width in sizes]
    for name, size in zip(names, sizes, strict=True):
        array = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
        coded(tmp_path / name, array=array, codec="ffv1", pixel_format="bgr0")
    for result, size in zip(kept(*names), sizes, strict=True):
        assert result.told["source"]["size"] == list(size)
        assert result.told["warnings"] == []
        frames, _ = decoded(result.folder / "overlay.mp4")
        assert len(frames) == 2


def test_13_more_pixels_than_allowed(refused, kept, tmp_path):
    coded(tmp_path / "a.mp4", 2)
    code, err = refused("a.mp4", "--max-pixels", 48 * 64 - 1)
    assert code == 65
    assert "frames of 64 x 48 pixels, more than the 3071 allowed" in err
    # What a few bytes declare; tests/fuzz measures that it costs no memory.
    content = coded(tmp_path / "huge.mkv", 1, (256, 256), codec="ffv1").read_bytes()
    assert b"\xb0\x82\x01\x00\xba\x82\x01\x00" in content
    side = struct.pack(">H", 9000)
    content = content.replace(b"\xb0\x82\x01\x00", b"\xb0\x82" + side)
    (tmp_path / "huge.mkv").write_bytes(content.replace(b"\xba\x82\x01\x00", b"\xba\x82" + side))
    code, err = refused("huge.mkv")
    assert code == 65
    assert "frames of 9000 x 9000 pixels, more than the 67108864 allowed" in err
    assert kept("a.mp4")[0].frames == 2


def test_14_random_damage_unknown_codec_and_tags_that_are_no_text(cli, tiny_model, tmp_path, kept):
    (tmp_path / "mutants").mkdir()
    sound = coded(tmp_path / "sound.mp4", 6, options=FASTSTART).read_bytes()
    for seed in range(16):
        rng = np.random.default_rng(seed)
        content = bytearray(sound)
        for place in rng.integers(0, 1200 if seed % 2 else len(sound), 12):
            content[place] = rng.integers(256)
        (tmp_path / f"mutants/{seed}.mp4").write_bytes(content)
    known = coded(tmp_path / "codec.mkv", 6, codec="ffv1").read_bytes()
    unknown = known.replace(b"V_FFV1", b"V_OHNO").replace(b"V_MS/VFW/FOURCC", b"V_OH/NOO/FOURCC")
    assert unknown != known
    (tmp_path / "mutants/codec.mkv").write_bytes(unknown)
    code, _, err = cli("decompose", "mutants", "--out", "out", "--model", tiny_model, *ON)
    assert code == 3
    assert "Traceback" not in err
    assert "a bug in slotcli" not in err
    rows = json.loads((tmp_path / "out/summary.json").read_text())["clips"]
    codes = {os.path.basename(row["source"]): row["exit_code"] for row in rows}
    assert len(codes) == 17
    assert set(codes.values()) <= {None, 65}
    assert codes["codec.mkv"] == 65
    results = {name for name, code in codes.items() if code is None}
    assert {path.name for path in (tmp_path / "out").iterdir()} == results | SUMMARY

    tagged = coded(tmp_path / "tags.mp4", 2, tags={"title": "a good title"})
    tagged.write_bytes(tagged.read_bytes().replace(b"a good title", b"a \xff\xfe title"))
    assert kept("tags.mp4")[0].told["warnings"] == []


def test_15_names_that_are_no_text(cli, tiny_model, tmp_path):
    names = [b"caf\xe9.mp4", "caf\u00e9.mp4".encode(), b"\xff\xfe.mp4"]
    for name in names:
        make_clip(tmp_path / os.fsdecode(name), 1)
    given = ["--out", "out", "--model", tiny_model, *ON, *map(os.fsdecode, names)]
    code, out, err = cli("--json", "decompose", *given)
    assert code == 0, err
    out.encode("ascii")
    err.encode("utf-8")
    told = [json.loads(line) for line in out.splitlines()]
    assert told[0]["source"] == r"caf\udce9.mp4"
    assert told[1]["source"] == "caf\u00e9.mp4"
    written = set(os.listdir(os.fsencode(tmp_path / "out")))
    assert written == {*names, *map(str.encode, SUMMARY)}
    for name in names:
        folder = tmp_path / "out" / os.fsdecode(name)
        assert len(mask_files(folder / "masks")) == 1
        (folder / "report.html").read_bytes().decode("utf-8")


def test_16_names_with_a_meaning_elsewhere(kept, refused, tmp_path):
    names = ["%d.mp4", "-dash.mp4", "a b.mp4", "new\nline.mp4", "n" * 251 + ".mp4", "http:x.mp4"]
    for name in names:
        make_clip(tmp_path / name, 1)
    kept(*names)
    for name in ("clip.mp4", "clip.mkv", "sub/clip.mp4"):
        make_clip(tmp_path / "in" / name, 1)
        make_clip(tmp_path / "too" / name, 2)
    # The suffix stays, sub-folders are mirrored, and what still collides gets a number.
    places = ["clip.mkv", "clip.mp4", "clip.mkv-2", "clip.mp4-2"]
    results = kept("in", "too", places=places)
    assert [result.frames for result in results] == [1, 1, 2, 2]
    assert refused("-dash.mp4")[0] == 2
