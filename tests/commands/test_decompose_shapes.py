"""A model that takes frames of any shape: what it is shown, and that every command reads it."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_clips import make_clip, mask_files, run_in, tree

from slotcli.build import build_model
from slotcli.checkpoint import WEIGHTS, save_model
from slotcli.definition import parse_spec, spec_json
from slotcli.spec import SlotModelSpec
from slotcli.tracks.masks import labels_from_attention
from slotcli.tracks.slot_file import SlotFile, read_slot_file, write_slot_file

pytestmark = pytest.mark.slow

ON = ["--device", "cpu", "--threads", "1"]
SLOTS = "clip.slots.safetensors"
COUNT, SIZE = 5, (128, 72)


@pytest.fixture(scope="module")
def any_size_model(tmp_path_factory: pytest.TempPathFactory, tiny_slot_spec: SlotModelSpec) -> Path:
    values = spec_json(tiny_slot_spec)
    values["decoder"] = {"kind": "none"}
    values["size"] = [64, 64]
    values["encoder"]["backbone"] = {"kind": "efficientnet_lite0", "channels": 32}
    values["train"] |= {"mask_weight": 1.0, "codec": None}
    spec = parse_spec(values, "tests")
    assert isinstance(spec, SlotModelSpec)
    folder = tmp_path_factory.mktemp("any-size")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(folder / WEIGHTS, spec, build_model(spec).state_dict(), 0, {})
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory, any_size_model):
    folder = tmp_path_factory.mktemp("shapes")
    make_clip(folder / "clip.mp4", COUNT, SIZE)
    decomposed(folder, any_size_model, "plain")
    return folder


def decomposed(folder: Path, model: Path, out: str, *options: object) -> Path:
    given = ["decompose", "clip.mp4", "--out", out, "--model", model, *ON, *options]
    code, _, err = run_in(folder, *given)
    assert code == 0, err
    return folder / out / "clip.mp4"


def slots(result: Path) -> SlotFile:
    return read_slot_file(result / SLOTS)


def test_the_aspect_ratio_is_kept_and_recorded(folder):
    result = folder / "plain/clip.mp4"
    found = slots(result)
    assert found.transform.model_size == (96, 64)  # nearest to 128 x 72 at the area of 64 x 64
    assert found.transform.crop == (0, 0, *SIZE)
    assert found.attention.shape[2:] == (24, 16)
    options = json.loads((result / "result.json").read_text())["options"]
    assert (options["fit"], options["size"], options["edges"]) == ("keep", None, "guided")
    assert "64 x 96 pixels, keep" in (result / "report.html").read_text()
    code, out, err = run_in(folder, "--json", "info", result / SLOTS)
    assert code == 0, err
    assert json.loads(out)["transform"]["model_size"] == [96, 64]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--size", "96"], (128, 64)),
        (["--size", "64x96"], (64, 96)),
        (["--fit", "squeeze"], (64, 64)),
        (["--fit", "crop", "--size", "32"], (32, 32)),
    ],
)
def test_other_sizes(folder, any_size_model, options, expected):
    name = "-".join(options)
    result = decomposed(folder, any_size_model, name, "--max-frames", 1, "--no-overlay", *options)
    assert slots(result).transform.model_size == expected
    assert mask_files(result / "masks").shape == (1, *SIZE)


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_clip_in_chunks_equals_the_clip_whole(folder, any_size_model, chunk):
    whole = folder / "plain/clip.mp4"
    again = decomposed(folder, any_size_model, f"chunk-{chunk}", "--chunk", chunk)
    np.testing.assert_allclose(slots(again).slots, slots(whole).slots, rtol=0, atol=1e-4)
    labels, other = mask_files(whole / "masks"), mask_files(again / "masks")
    # Untrained slots are nearly alike: rounding moves pixels between them.
    assert (labels != other).mean() < 0.02


def test_masks_follow_the_frame_and_an_export_finds_it(folder, tmp_path):
    result = folder / "plain/clip.mp4"
    expected = {path: own for path, own in tree(result).items() if path.startswith("masks")}
    code, _, err = run_in(tmp_path, "export", result, "--out", "found")
    assert code == 0, err
    assert tree(tmp_path / "found") == expected
    smooth = ["export", result, "--out", "smooth", "--edges", "bilinear"]
    assert run_in(tmp_path, *smooth)[0] == 0
    file = slots(result)
    bilinear = labels_from_attention(file.attention, file.transform, [0])
    np.testing.assert_array_equal(mask_files(tmp_path / "smooth/masks"), bilinear)
    assert (bilinear != mask_files(result / "masks")).any()


def test_an_export_without_the_clip_says_so(folder, tmp_path):
    write_slot_file(tmp_path / SLOTS, slots(folder / "plain/clip.mp4"))
    code, out, err = run_in(tmp_path, "export", SLOTS, "--out", "out")
    assert (code, out) == (2, "")
    assert "Name it with --video, or use --edges bilinear." in err
    assert {path.name for path in tmp_path.iterdir()} == {SLOTS}
    given = ["export", SLOTS, "--out", "out", "--video", folder / "clip.mp4"]
    assert run_in(tmp_path, *given)[0] == 0
    np.testing.assert_array_equal(
        mask_files(tmp_path / "out/masks"), mask_files(folder / "plain/clip.mp4/masks")
    )


def test_a_slot_file_that_tells_no_edges_has_smooth_ones(folder, tmp_path):
    file = slots(folder / "plain/clip.mp4")
    run = {name: value for name, value in file.metadata["run"].items() if name != "options"}
    write_slot_file(tmp_path / SLOTS, replace(file, metadata={**file.metadata, "run": run}))
    assert run_in(tmp_path, "export", SLOTS, "--out", "out")[0] == 0
    bilinear = labels_from_attention(file.attention, file.transform, [0])
    np.testing.assert_array_equal(mask_files(tmp_path / "out/masks"), bilinear)
    for wrong in ({"edges": "sharp"}, {"min_area": -1}, {"largest_component": 3}):
        other = {**run, "options": wrong}
        path = tmp_path / f"{next(iter(wrong))}.safetensors"
        write_slot_file(path, replace(file, metadata={**file.metadata, "run": other}))
        assert run_in(tmp_path, "export", path, "--out", "wrong")[0] == 65


def test_a_report_is_drawn_again_to_the_byte(folder, any_size_model):
    tidy = ["--min-area", "0.02", "--largest-component", "--background", "1,3"]  # of three slots
    result = decomposed(folder, any_size_model, "tidy", *tidy)
    before = tree(result)
    code, _, err = run_in(folder, "report", result)
    assert code == 0, err
    assert tree(result) == before
    assert slots(result).metadata["statistics"]["background"] == [0, 2]
    labels = mask_files(result / "masks")
    assert set(np.unique(labels)) <= {0, 2}
    rows = list(csv.DictReader((result / "tracks.csv").read_text().splitlines()))
    assert [int(row["id"]) for row in rows] == [0, 2] * COUNT
    for row in rows:
        assert (row["confidence"] == "") == (row["area"] == "0")
        assert 0 <= float(row["confidence"] or 0) <= 1
    exported = ["export", result, "--out", "tidy-again"]
    assert run_in(folder, *exported)[0] == 0
    np.testing.assert_array_equal(mask_files(folder / "tidy-again/masks"), labels)


def test_results_of_several_shapes_are_audited_together(folder, any_size_model):
    square = folder / "square"
    square.mkdir()
    make_clip(square / "clip.mp4", COUNT, (64, 64))
    other = decomposed(square, any_size_model, "out")
    both = ["--results", folder / "plain", "--results", other, "--frames", "3"]
    code, out, err = run_in(folder, "--json", "audit", *both)
    assert code in (0, 3), err
    told = json.loads(out.splitlines()[0])
    assert (told["clips"], told["left_out"], told["without_pictures"]) == (2, {}, {})


def test_a_model_is_scored_on_clips_of_their_own_shape(folder, any_size_model):
    made = ["data", "synth", "scenes", "--tier", "A", "--clips", "2", "--frames", "2"]
    code, _, err = run_in(folder, *made, "--size", "48x80", "--threads", "1", "--device", "cpu")
    assert code == 0, err
    given = ["--model", any_size_model, "--data", "scenes", *ON]
    code, out, err = run_in(folder, "--json", "evaluate", *given)
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["segmentation"]["model"]["miou"]["mean"] > 0


@pytest.mark.parametrize("size", ["100", "33x64", "0x32", "16"])
def test_sides_that_do_not_fit(folder, any_size_model, size):
    options = ["--fit", "squeeze", "--size", size]
    given = ["decompose", "clip.mp4", "--out", "refused", "--model", any_size_model, *ON]
    code, out, err = run_in(folder, *given, *options)
    assert (code, out) == (2, "")
    assert f"--size {size}: the sides of an input are multiples of 32." in err
    assert not (folder / "refused").exists()
