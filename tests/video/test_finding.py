"""Which clips a folder holds: what is taken, what is passed over, and why."""

import json
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from video_files import moving_frames

from slotcli.errors import AccessError
from slotcli.files.layout import RESULT, SLOT_FILE
from slotcli.tracks.masks import Ffv1MaskWriter, PngMaskWriter
from slotcli.video import finding
from slotcli.video.finding import FoundClips, find_clips, skip_summary
from slotcli.video.folder_contents import HIDDEN, MASKS, NEITHER, OWN, POSTERS
from slotcli.video.own_outputs import MARK, png_mark
from slotcli.video.writer import VideoWriter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "in"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def picture(path: Path, seed: int = 0, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 12, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def pages(path: Path, count: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [Image.fromarray(frame) for frame in moving_frames(count, (8, 12))]
    images[0].save(path, save_all=True, append_images=images[1:])
    return path


def video(path: Path, mark: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, (16, 24), Fraction(1, 10), codec="h264", mark=mark) as out:
        for index, frame in enumerate(moving_frames(3, (16, 24))):
            out.write(frame, index, 1)
    return path


def taken(folder: Path, *, recursive: bool = True) -> list[str]:
    found = find_clips(folder, recursive=recursive)
    return [path.relative_to(folder).as_posix() for path in found.clips]


def why(found: FoundClips, folder: Path) -> dict[str, str]:
    return {one.path.relative_to(folder).as_posix(): one.reason for one in found.passed_over}


@pytest.mark.parametrize(
    "suffix",
    [
        *("mp4", "m2ts", "mts", "h264", "264", "hevc", "265", "m2v", "mxf", "vob", "ogv", "flv"),
        *("wmv", "3gp", "y4m", "ivf", "av1", "obu", "dv", "gif", "MKV"),
    ],
)
def test_every_suffix_that_decodes_is_taken(folder, suffix):
    touch(folder, f"a.{suffix}")
    assert taken(folder) == [f"a.{suffix}"]


@pytest.mark.parametrize(
    "suffix", ["ppm", "pgm", "avif", "jp2", "tga", "qoi", "jfif", "dpx", "exr", "pam", "TIF"]
)
def test_every_kind_of_image_makes_a_clip(folder, suffix):
    touch(folder, f"a/1.{suffix}", f"a/2.{suffix}")
    assert taken(folder) == ["a"]


def test_files_of_unknown_suffix_are_taken_for_what_they_hold(folder):
    clip = video(folder / "a.mp4").read_bytes()
    for name in ("recording", "b.insv", "c.mp4.bak", "d.part", "GX01.LRV"):
        (folder / name).write_bytes(clip)
    (folder / "a.mp4").unlink()
    (folder / "types.ts").write_text("export const a: number = 1;\n" * 9)
    (folder / "notes").write_text("nothing")
    (folder / "sound.mp3").write_bytes(b"ID3")
    found = find_clips(folder)
    assert taken(folder) == ["b.insv", "c.mp4.bak", "recording"]
    assert why(found, folder) == {
        "GX01.LRV": "previews by a camera",
        "d.part": "unfinished downloads",
        "notes": NEITHER,
        "sound.mp3": "sound only",
        "types.ts": NEITHER,
    }
    assert skip_summary(found.passed_over).startswith(
        "5 files or folders were not taken: 2 not a video"
    )


def test_hidden_files_and_the_folders_of_systems_are_passed_over(folder):
    touch(folder, "a.mp4", "._a.mp4", ".DS_Store", ".Trash/b.mp4", "@eaDir/a.mp4/c.jpg")
    touch(folder, "$RECYCLE.BIN/d.mp4", "__MACOSX/._a.mp4", "Thumbs.db")
    found = find_clips(folder)
    assert taken(folder) == ["a.mp4"]
    assert set(why(found, folder).values()) == {HIDDEN}
    assert len(found.passed_over) == 7


def test_slotcli_takes_none_of_its_own_output_for_a_clip(folder):
    touch(folder, "a.mp4", f"a/{RESULT}", f"a/{SLOT_FILE}", "a/overlay.mp4", "a/masks/00000.png")
    touch(folder, "slotcli-out/b.mp4/overlay.mp4", "slotcli-out/b.mp4/strip.png")
    # A result whose files were taken out of it, or of which some are left.
    (folder / "renamed").mkdir()
    (folder / "renamed" / RESULT).write_text(json.dumps({"schema": "slotcli.result/1"}))
    touch(folder, "renamed/kept.mp4", "rest/overlay.mp4", "rest/report.html", "rest/tracks.csv")
    touch(folder, "run/log.jsonl", "run/log.csv", "run/curves.svg", "run/masks/step-00000002.png")
    touch(folder, "model/model.toml", "model/weights.safetensors", "model/samples.jpg")
    touch(folder, "exported/objects/1/00000.png", "exported/alpha/2/00003.png")
    found = find_clips(folder)
    assert taken(folder) == ["a.mp4"]
    assert set(why(found, folder).values()) == {OWN}
    assert taken(folder / "a") == []
    assert taken(folder / "slotcli-out") == []


def test_own_videos_and_masks_are_known_wherever_they_were_moved(folder):
    video(folder / "a.mp4")
    video(folder / "shown" / "overlay.mp4", MARK)
    with Ffv1MaskWriter(folder / "labels.mkv", (16, 24), Fraction(1, 10)) as writer:
        writer.write(np.zeros((16, 24), np.uint8), 0, 1)
    marked = (folder / "labels.mkv").read_bytes()
    # As earlier versions wrote them, without a mark.
    (folder / "older.mkv").write_bytes(marked.replace(MARK.encode(), b"." * len(MARK)))
    with PngMaskWriter(folder / "somewhere") as writer:
        writer.write(np.ones((16, 24), np.uint8), 0, 1)
    picture(folder / "cut" / "1.png", pnginfo=png_mark())
    found = find_clips(folder)
    assert taken(folder) == ["a.mp4"]
    assert why(found, folder) == {
        "shown/overlay.mp4": OWN,
        "labels.mkv": OWN,
        "older.mkv": OWN,
        "somewhere/00000.png": MASKS,
        "cut/1.png": OWN,
    }


def test_a_gray_lossless_video_is_footage(folder):
    folder.mkdir()
    with av.open(str(folder / "a.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 24, "gray"
        shades = np.arange(384, dtype=np.uint16).astype(np.uint8).reshape(16, 24)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(shades, "gray")))
        out.mux(stream.encode(None))
    assert taken(folder) == ["a.mkv"]


def test_pictures_beside_videos_are_no_clip(folder):
    touch(folder, "tube/clip.mp4", "tube/clip.webp", "tube/clip.0.jpg", "tube/clip.mp4.png")
    touch(folder, "films/a.mkv", "films/b.mkv", "films/poster.jpg", "films/fanart.jpg")
    touch(folder, "DCIM/IMG_0001.JPG", "DCIM/IMG_0002.MOV", "DCIM/IMG_0003.JPG")
    touch(folder, "DCIM/IMG_0004.JPG", "covers/a.jpg", "a.mp4")
    touch(folder, "set/one/a.mp4", "set/cover.jpg")
    found = find_clips(folder)
    assert taken(folder) == [
        "DCIM/IMG_0002.MOV",
        "a.mp4",
        "films/a.mkv",
        "films/b.mkv",
        "set/one/a.mp4",
        "tube/clip.mp4",
    ]
    assert list(why(found, folder).values()).count(POSTERS) == 10


def test_a_sequence_beside_a_video_is_a_clip(folder):
    touch(folder, "clip.mp4", *(f"clip_{number:04d}.png" for number in (1, 2, 3, 5)))
    touch(folder, "shot.0001.exr", "clip.jpg")
    found = find_clips(folder)
    assert taken(folder) == [".", "clip.mp4"]
    assert set(why(found, folder)) == {"clip.jpg", "shot.0001.exr"}


def test_links_are_followed_once(folder, tmp_path):
    touch(tmp_path, "elsewhere/b.mp4", "elsewhere/deep/c.mp4", "pictures/1.png", "pictures/2.png")
    touch(folder, "a.mp4", "z/real.mp4")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (folder / "again").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (folder / "a-link.mp4").symlink_to(folder / "z" / "real.mp4")
    (folder / "gone.mp4").symlink_to(folder / "nothing.mp4")
    os.link(folder / "a.mp4", folder / "z" / "hard.mp4")
    (tmp_path / "elsewhere" / "back").symlink_to(folder / "z", target_is_directory=True)
    (folder / "shots").symlink_to(tmp_path / "pictures", target_is_directory=True)
    (folder / "copies").mkdir()
    for name in ("1.png", "2.png"):
        (folder / "copies" / name).symlink_to(tmp_path / "pictures" / name)
    found = find_clips(folder)
    assert taken(folder) == ["a.mp4", "again/b.mp4", "again/deep/c.mp4", "shots", "z/real.mp4"]
    assert why(found, folder) == {
        "loop": finding.TWICE,
        "more": finding.TWICE,
        "a-link.mp4": finding.TWICE,
        "z/hard.mp4": finding.TWICE,
        "again/back": finding.TWICE,
        "copies": finding.TWICE,
        "gone.mp4": "links to nothing",
    }


def test_annotations_of_a_data_set_are_no_clips(folder):
    touch(folder, "JPEGImages/480p/bear/00000.jpg", "Annotations/480p/bear/00000.png")
    touch(folder, "Annotations_unsupervised/480p/bear/00000.png")
    touch(folder, "vos/images/a/1.jpg", "vos/masks/a/1.png", "vos/labels_6fps/a/1.png")
    for name in ("000000.png", "000000_mask.png", "000001.png", "000001_mask.png"):
        touch(folder, f"converted/00000000/{name}")
    found = find_clips(folder)
    assert taken(folder) == ["JPEGImages/480p/bear", "converted/00000000", "vos/images/a"]
    assert set(why(found, folder).values()) == {MASKS}
    assert len(found.passed_over) == 6


def test_an_image_of_several_pages_is_a_clip_of_its_own(folder):
    for number in (1, 2, 4):
        picture(folder / f"{number}.tif", number)
    pages(folder / "3.tif")
    for name in ("stacks/a.tif", "stacks/b.webp", "stacks/c.png"):
        pages(folder / name)
    assert taken(folder) == [".", "3.tif", "stacks/a.tif", "stacks/b.webp", "stacks/c.png"]


def test_without_recursive_the_folders_below_are_named(folder):
    touch(folder, "a.mp4", "b/c.mp4", ".d/e.mp4", f"f/{RESULT}", f"f/{SLOT_FILE}")
    found = find_clips(folder, recursive=False)
    assert taken(folder, recursive=False) == ["a.mp4"]
    assert why(found, folder) == {"b": finding.DEEPER, ".d": HIDDEN, "f": OWN}


def test_a_folder_that_may_not_be_read_is_a_failure_of_its_own(folder, monkeypatch):
    touch(folder, "a.mp4", "locked/b.mp4", "open/c.mp4")
    really = finding.list_folder

    def refused(path):
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return really(path)

    monkeypatch.setattr(finding, "list_folder", refused)
    found = find_clips(folder)
    assert taken(folder) == ["a.mp4", "open/c.mp4"]
    assert [(path.name, type(error)) for path, error in found.failures.items()] == [
        ("locked", AccessError)
    ]
