import json
import subprocess
from dataclasses import replace

import av
import numpy as np
import pytest
from made_clips import UNEVEN, assert_refused, decoded, make_clip, mask_files, run_in, tree

from slotcli.tracks.masks import read_masks
from slotcli.tracks.slot_file import read_slot_file, write_slot_file

pytestmark = pytest.mark.slow

ON = ["--device", "cpu", "--threads", "1"]
BOTH = ["--masks", "png", "--masks", "ffv1"]
SLOTS = "clip.slots.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model):
    """Results of one clip: whole, cropped, and with another background."""
    folder = tmp_path_factory.mktemp("export")
    make_clip(folder / "clip.mp4", len(UNEVEN), (48, 64), UNEVEN)
    for out, options in {
        "plain": [],
        "crop": ["--fit", "crop"],
        "slot3": ["--background", "3"],
        "excerpt": ["--start", "0.15", "--stride", "2"],
    }.items():
        given = ["decompose", "clip.mp4", "--out", out, "--model", tiny_model, *BOTH, *options]
        code, _, err = run_in(folder, *given, *ON)
        assert code == 0, err
    return folder


@pytest.mark.parametrize("name", ["plain", "crop", "slot3", "excerpt"])
def test_masks_are_those_of_decompose_to_the_byte(cli, folder, tmp_path, name):
    result = folder / name / "clip.mp4"
    assert cli("export", result, "--out", "new/out", *BOTH)[0] == 0
    expected = {path: content for path, content in tree(result).items() if path.startswith("masks")}
    assert len(expected) == len(read_slot_file(result / SLOTS).pts) + 2
    assert tree(tmp_path / "new/out") == expected


def test_only_what_was_asked_for(cli, folder, tmp_path):
    slots = folder / "plain/clip.mp4" / SLOTS
    code, out, _ = cli("--json", "export", slots, "--out", ".", "--masks", "ffv1")
    assert code == 0
    assert json.loads(out) == {"out": ".", "masks": ["ffv1"], "frames": len(UNEVEN)}
    assert [path.name for path in tmp_path.iterdir()] == ["masks.mkv"]
    # The other kind can follow into the same folder.
    assert cli("export", slots, "--out", ".")[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"masks.mkv", "masks"}
    np.testing.assert_array_equal(
        mask_files(tmp_path / "masks"), list(read_masks(tmp_path / "masks.mkv"))
    )
    _, times = decoded(folder / "clip.mp4")
    _, mask_times = decoded(tmp_path / "masks.mkv")
    assert all(
        abs(mask - time) <= 0.0005 for mask, time in zip(mask_times, times, strict=True)
    )  # Matroska counts milliseconds


def test_ffmpeg_drops_no_masks_to_keep_a_rate(cli, ffmpeg, tiny_model, tmp_path):
    make_clip(tmp_path / "clip.mp4", 40)
    given = ["decompose", "clip.mp4", "--out", "out", "--model", tiny_model, "--masks", "ffv1"]
    assert cli(*given, *ON)[0] == 0
    video = tmp_path / "out/clip.mp4/masks.mkv"
    command = [ffmpeg, "-v", "error", "-i", video, tmp_path / "%02d.png"]
    subprocess.run(command, check=True, timeout=60)
    assert len(list(tmp_path.glob("*.png"))) == 40
    with av.open(str(video)) as container:
        assert container.streams.video[0].guessed_rate == 25


@pytest.fixture
def refused(cli, tmp_path):
    def run(*arguments):
        before = tree(tmp_path)
        code, out, err = cli("export", *arguments)
        assert_refused(err)
        assert out == ""
        assert tree(tmp_path) == before
        return code

    return run


def test_refusals_leave_nothing_behind(refused, folder, tmp_path):
    result = folder / "plain/clip.mp4"
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "taken/masks").mkdir(parents=True)
    assert refused("absent", "--out", "out") == 66
    assert refused("taken", "--out", "out") == 66
    assert refused("file", "--out", "out") == 65
    assert refused(result, "--out", "taken") == 73
    assert refused(result, "--out", "file") == 73
    assert refused(result, "--out", "file/out") == 73
    assert refused(result, "--out", "/proc/out") in (73, 77)
    assert refused(result, "--out", "out", "--masks", "none") == 2
    assert refused(result) == 2


@pytest.mark.parametrize("section", ["model", "source", "statistics"])
def test_sections_that_are_no_tables(refused, folder, tmp_path, section):
    slot_file = read_slot_file(folder / "plain/clip.mp4" / SLOTS)
    for value in (3, None, []):
        metadata = {**slot_file.metadata, section: value}
        write_slot_file(tmp_path / SLOTS, replace(slot_file, metadata=metadata))
        assert refused(SLOTS, "--out", "out") == 65
