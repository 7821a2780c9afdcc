import csv
import hashlib
import json

import numpy as np
import pytest
from made_clips import UNEVEN, decoded, make_clip, make_images, mask_files, pictures, run_in, tree
from PIL import Image

from slotcli.checkpoint import WEIGHTS
from slotcli.tracks.masks import read_masks
from slotcli.tracks.palette import davis_palette
from slotcli.tracks.slot_file import read_slot_file

ON = ["--device", "cpu", "--threads", "1"]
SLOTS = "clip.slots.safetensors"
COUNT, SIZE = 20, (48, 64)
FILES = {
    SLOTS,
    "masks",
    "tracks.csv",
    "tracks.json",
    "overlay.mp4",
    "strip.png",
    "report.html",
    "result.json",
}


def _decompose(folder, model, out, *options):
    clip = folder / "clip.mp4"
    given = ["decompose", clip, "--out", out, "--model", model, *options, *ON]
    code, _, err = run_in(folder, *given)
    assert code == 0, err
    return folder / out / "clip.mp4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decompose")
    pts = UNEVEN + [9000 + 512 * step for step in range(1, COUNT - len(UNEVEN) + 1)]
    make_clip(folder / "clip.mp4", COUNT, SIZE, pts)
    return folder


@pytest.fixture(scope="module")
def result(folder, tiny_model):
    return _decompose(folder, tiny_model, "out", "--masks", "png", "--masks", "ffv1")


@pytest.fixture(scope="module")
def slot_file(result):
    return read_slot_file(result / SLOTS)


def test_result_folder_holds_what_is_promised_and_nothing_else(folder, result, tiny_model):
    assert {path.name for path in result.iterdir()} == FILES | {"masks.mkv"}
    assert {path.name for path in (result / "masks").iterdir()} == {
        f"{index:05d}.png" for index in range(COUNT)
    }
    assert [path.name for path in (folder / "out").iterdir()] == ["clip.mp4"]
    bare = _decompose(folder, tiny_model, "bare", "--masks", "none")
    assert {path.name for path in bare.iterdir()} == FILES - {"masks"}
    plain = _decompose(folder, tiny_model, "plain")
    assert {path.name for path in plain.iterdir()} == FILES


def test_result_json_says_what_was_done(folder, result, tiny_model):
    told = json.loads((result / "result.json").read_text())
    assert told["schema"] == "slotcli.result/1"
    assert told["status"] == "ok"
    assert told["warnings"] == []
    assert told["coverage"] == pytest.approx(1, abs=0.01)
    assert told["counts"].pop("seconds") > 0
    assert 0 < told["counts"].pop("objects") <= 4
    assert told["counts"] == {
        "frames": COUNT,
        "packet_errors": 0,
        "corrupt_frames": 0,
        "timing_repaired": 0,
        "format_changes": 0,
    }
    assert told["source"]["path"] == str(folder / "clip.mp4")
    assert told["source"]["bytes"] == (folder / "clip.mp4").stat().st_size
    assert told["source"]["size"] == list(SIZE)
    weights = (tiny_model / WEIGHTS).read_bytes()
    assert told["model"]["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert told["slots_sha256"] == hashlib.sha256((result / SLOTS).read_bytes()).hexdigest()
    assert told["options"] == {
        "background": "auto",
        "edges": "bilinear",
        "min_area": 0,
        "largest_component": False,
        "fit": "squeeze",
        "size": None,
        "masks": ["png", "ffv1"],
        "overlay": True,
        "chunk": 16,
        "start": 0,
        "end": None,
        "stride": 1,
        "max_frames": None,
        "reset": "never",
    }
    assert told["resumed_frames"] == 0
    assert set(told["busy_seconds"]) == {"decode", "model", "write", "overlay", "page"}
    assert told["seconds"] > 0
    assert told["frames_per_second"] > 0


def test_masks_are_palette_files_of_source_size_with_labels_of_slots(result, slot_file):
    with Image.open(result / "masks/00000.png") as image:
        assert (image.mode, image.size) == ("P", SIZE[::-1])
        assert image.getpalette() == davis_palette().ravel().tolist()
    labels = mask_files(result / "masks")
    background = slot_file.metadata["statistics"]["background"]
    possible = {slot + 1 for slot in range(4) if slot != background}
    assert set(np.unique(labels)) <= possible | ({0} if background is not None else set())
    np.testing.assert_array_equal(labels, list(read_masks(result / "masks.mkv")))


def test_times_are_the_sources(folder, result, slot_file):
    _, times = decoded(folder / "clip.mp4")
    numerator, denominator = slot_file.metadata["source"]["time_base"]
    assert [int(pts) * numerator / denominator for pts in slot_file.pts] == [
        float(time) for time in times
    ]
    np.testing.assert_array_equal(slot_file.duration[:-1], np.diff(slot_file.pts))
    np.testing.assert_array_equal(slot_file.frame_index, np.arange(COUNT))
    assert not slot_file.flags.any()
    frames, overlay_times = decoded(result / "overlay.mp4")
    assert overlay_times == [time - times[0] for time in times]  # it begins with its first frame
    assert frames.shape == (COUNT, *SIZE, 3)


def test_tracks_measure_the_masks(result, slot_file):
    rows = list(csv.DictReader((result / "tracks.csv").read_text().splitlines()))
    assert len(rows) == COUNT * 4
    labels = mask_files(result / "masks")
    background = slot_file.metadata["statistics"]["background"]
    ids = [0 if slot == background else slot + 1 for slot in range(4)]
    for row in rows:
        mask = labels[int(row["frame_index"])] == int(row["id"])
        assert int(row["area"]) == mask.sum()
    told = json.loads((result / "tracks.json").read_text())
    assert told["frames"] == COUNT
    assert [slot["id"] for slot in told["slots"]] == ids
    assert [int(row["id"]) for row in rows[:4]] == ids


def test_pages_for_people_are_there(result):
    with Image.open(result / "strip.png") as strip:
        assert strip.height > SIZE[0]
    page = (result / "report.html").read_text()
    assert "clip.mp4" in page
    for name in FILES - {"report.html"}:
        assert f'href="{name}"' in page


def test_an_overlay_that_nobody_asked_for_is_left_out_and_can_be_drawn_later(
    folder, result, tiny_model
):
    plain = _decompose(folder, tiny_model, "no-overlay", "--no-overlay")
    assert {path.name for path in plain.iterdir()} == FILES - {"overlay.mp4"}
    assert "overlay.mp4" not in (plain / "report.html").read_text()
    for name in ("tracks.csv", "tracks.json", "strip.png"):
        assert (plain / name).read_bytes() == (result / name).read_bytes(), name
    np.testing.assert_array_equal(mask_files(plain / "masks"), mask_files(result / "masks"))
    assert run_in(folder, "report", plain)[0] == 0
    assert (plain / "overlay.mp4").read_bytes() == (result / "overlay.mp4").read_bytes()


@pytest.mark.parametrize("chunk", [1, 7, 32])
def test_chunks_make_no_difference(folder, result, slot_file, tiny_model, chunk):
    again = _decompose(folder, tiny_model, f"chunk-{chunk}", "--chunk", chunk)
    other = read_slot_file(again / SLOTS)
    np.testing.assert_allclose(other.slots, slot_file.slots, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(mask_files(again / "masks"), mask_files(result / "masks"))


def test_same_command_gives_the_same_bytes(folder, result, tiny_model):
    again = _decompose(folder, tiny_model, "again", "--masks", "png", "--masks", "ffv1")
    timed = {"result.json", "report.html"}  # they tell the seconds it took
    first, second = tree(result), tree(again)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name] and name not in timed] == []


def test_crop_marks_what_the_model_never_saw(folder, tiny_model):
    labels = mask_files(_decompose(folder, tiny_model, "crop", "--fit", "crop") / "masks")
    inside = (slice(None), slice(None), slice(8, 56))  # the middle 48 of 64 columns
    assert (labels[inside] <= 4).all()
    labels[inside] = 255
    assert (labels == 255).all()


def test_squeeze_covers_every_pixel(result):
    assert mask_files(result / "masks").max() <= 4


@pytest.mark.parametrize(("background", "label"), [("none", None), ("3", 2)])
def test_background_is_the_slot_asked_for(folder, slot_file, tiny_model, background, label):
    result = _decompose(folder, tiny_model, f"ground-{background}", "--background", background)
    file = read_slot_file(result / SLOTS)
    assert file.metadata["statistics"]["background"] == label
    np.testing.assert_array_equal(file.slots, slot_file.slots)
    labels = mask_files(result / "masks")
    winners = np.stack([_winners(attention, SIZE) for attention in file.attention])
    expected = winners + 1 if label is None else np.where(winners == label, 0, winners + 1)
    # The two ways to interpolate may round a tie differently.
    assert (labels != expected).mean() < 1e-3


def _winners(attention, size):
    """Bilinear upsampling with half-pixel centres in float64, and the greatest slot."""
    rows, columns = (
        _weights(grid, pixels) for grid, pixels in zip(attention.shape[1:], size, strict=True)
    )
    return np.einsum("yi,nij,xj->nyx", rows, attention.astype(np.float64), columns).argmax(0)


def _weights(grid, pixels):
    at = np.clip((np.arange(pixels) + 0.5) * grid / pixels - 0.5, 0, grid - 1)
    return np.maximum(0, 1 - abs(at[:, None] - np.arange(grid)))


def test_one_json_object_a_line_and_nothing_else(folder, tiny_model):
    make_clip(folder / "second.mp4", 2)
    inputs = ["clip.mp4", "second.mp4"]
    given = ["decompose", *inputs, "--out", "json", "--model", tiny_model]
    code, out, _ = run_in(folder, "--json", *given, *ON)
    assert code == 0
    told = [json.loads(line) for line in out.splitlines()]
    assert [record["source"] for record in told] == inputs
    assert [record["frames"] for record in told] == [COUNT, 2]
    assert [record["status"] for record in told] == ["ok", "ok"]
    assert {record["result"] for record in told} == {"json/clip.mp4", "json/second.mp4"}


def test_images_are_clips_too(tmp_path, tiny_model):
    make_images(tmp_path / "frames", 3)
    Image.fromarray(pictures(1, (33, 47))[0]).save(tmp_path / "still.png")
    given = ["decompose", "frames", "still.png", "--out", "out", "--model", tiny_model]
    code, _, err = run_in(tmp_path, *given, *ON)
    assert code == 0, err
    assert mask_files(tmp_path / "out/frames/masks").shape == (3, 40, 40)
    assert mask_files(tmp_path / "out/still.png/masks").shape == (1, 33, 47)


def test_a_clip_of_one_colour_and_one_of_one_pixel(tmp_path, tiny_model):
    Image.new("RGB", (64, 48)).save(tmp_path / "black.png")
    Image.new("RGB", (1, 1), "red").save(tmp_path / "dot.png")
    given = ["decompose", "black.png", "dot.png", "--out", "out", "--model", tiny_model]
    code, _, err = run_in(tmp_path, *given, *ON)
    assert code == 0, err
    assert mask_files(tmp_path / "out/dot.png/masks").shape == (1, 1, 1)
