"""slotcli from Python: the same results as the command line's, read lazily and in any order."""

import inspect
import json
import pickle
import re
import shutil
from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch
from made_clips import decoded, make_clip, mask_files, run_in, tree
from PIL import Image

import slotcli
from slotcli.commands import decompose as decompose_command
from slotcli.commands import reconstruct as reconstruct_command
from slotcli.errors import CannotCreateError, DataError, NoInputError, SlotcliError, UsageError
from slotcli.report.overlay import OPACITY
from slotcli.results import result as results
from slotcli.tracks.statistics import TrackRow
from slotcli.video.reader import open_clip

pytestmark = pytest.mark.slow

OPTIONS = {"edges": "guided", "background": "none", "start": 0.08, "stride": 2, "overlay": False}
GIVEN = ["--edges", "guided", "--background", "none", "--start", 0.08, "--stride", 2]
NAME = "<b> clip.mp4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("python")
    make_clip(folder / NAME, 16)
    slotcli.decompose(folder / NAME, tiny_model, out=folder / "out", **OPTIONS)
    return folder


@pytest.fixture
def result(folder):
    return slotcli.load(folder / "out" / NAME)


def columns_of(table):
    return {name: np.asarray(table[name]) for name in TrackRow.__dataclass_fields__}


def test_python_and_the_command_line_make_the_same_files(folder, tiny_model, result):
    given = ["decompose", NAME, "--model", tiny_model, "-o", "by-command", "--no-overlay", *GIVEN]
    assert run_in(folder, *given, "--device", "cpu")[0] == 0
    timed = ("result.json", "report.html")
    own, other = (tree(folder / out / NAME) for out in ("out", "by-command"))
    assert {k: v for k, v in own.items() if k not in timed} == {
        k: v for k, v in other.items() if k not in timed
    }
    facts = json.loads(run_in(folder, "--json", "info", f"out/{NAME}")[1])
    assert facts["frames"] == result.info["frames"] == len(result) == 7
    assert [own["id"] for own in facts["objects"]] == result.ids == [1, 2, 3, 4]


def test_options_have_the_defaults_of_the_command_line():
    for ours, command in (
        (slotcli.decompose, decompose_command.decompose),
        (slotcli.reconstruct, reconstruct_command.reconstruct),
    ):
        theirs = inspect.signature(command).parameters
        for name, own in inspect.signature(ours).parameters.items():
            if name in theirs and name not in ("masks", "out"):
                assert own.default == theirs[name].default, name
    given = set(inspect.signature(decompose_command.decompose).parameters)
    many = {"inputs", "recursive", "dry_run", "shard", "engine", "together"}
    own = set(inspect.signature(slotcli.decompose).parameters) - {"path", "progress"}
    assert given - many == own


def test_a_call_is_silent_and_leaves_the_process_as_it_was(folder, tiny_model, capfd):
    threads, seen = torch.get_num_threads(), []
    options = {"out": None, "max_frames": 3, "threads": 2}
    found = slotcli.decompose(
        folder / NAME, tiny_model, progress=lambda *n: seen.append(n), **options
    )
    assert torch.get_num_threads() == threads
    assert seen[-1] == (3, 3)
    assert capfd.readouterr() == ("", "")
    place = found.path
    assert place.is_file()
    del found
    assert not place.parent.exists()


def test_a_result_of_the_same_request_is_not_made_again(folder, tiny_model):
    seen = []
    again = slotcli.decompose(
        folder / NAME, tiny_model, out=folder / "out", progress=lambda *n: seen.append(n), **OPTIONS
    )
    assert not seen
    assert len(again) == 7
    with pytest.raises(CannotCreateError, match="exists already"):
        slotcli.decompose(folder / NAME, tiny_model, out=folder / "out")


def test_masks_are_the_files_in_any_order(folder, result, tmp_path):
    expected = mask_files(folder / "out" / NAME / "masks")
    shutil.copy(result.path, tmp_path)
    lone = slotcli.load(tmp_path / result.path.name, folder / NAME)
    for masks in (result.masks, lone.masks):  # read from masks/, and computed from the clip
        assert (masks.shape, masks.ndim, masks.dtype) == (expected.shape, 3, np.uint8)
        for key in (6, -1, 0, slice(1, 5, 2), [5, 0], (2, slice(3, 9), 7), (..., 4), slice(9, 9)):
            np.testing.assert_array_equal(masks[key], expected[key], err_msg=str(key))
        np.testing.assert_array_equal(np.asarray(masks), expected)
        with pytest.raises(IndexError):
            masks[7]
    with pytest.raises(NoInputError, match="follow the edges"):
        slotcli.load(tmp_path / result.path.name).masks[0]


def test_frames_are_the_clip_and_times_its_own(folder, result, tmp_path):
    _, times = decoded(folder / NAME)
    with open_clip(folder / NAME) as reader:
        (chunk,) = reader.chunks(16)
    np.testing.assert_array_equal(result.frames()[:], chunk.frames[2::2])
    np.testing.assert_array_equal(result.times, [float(time) for time in times[2::2]])
    np.testing.assert_array_equal(result.frame_index, range(2, 16, 2))
    shutil.copy(result.path, tmp_path)
    lone = slotcli.load(tmp_path / result.path.name, folder / NAME)
    np.testing.assert_array_equal(lone.times, result.times)


@pytest.mark.parametrize("pandas", [True, False])
def test_tracks_are_the_table_on_disk(result, folder, tmp_path, monkeypatch, pandas):
    if pandas:
        pytest.importorskip("pandas")
    else:
        monkeypatch.setattr(util, "find_spec", lambda name: None)
        monkeypatch.setattr("slotcli.results.tables.find_spec", lambda name: None)
    table = result.tracks
    assert isinstance(table, dict) is not pandas
    lines = (result.path.parent / "tracks.csv").read_text().splitlines()
    names = lines[0].split(",")
    assert list(columns_of(table)) == names
    written = np.array([[float(c or "nan") for c in line.split(",")] for line in lines[1:]])
    np.testing.assert_array_equal(np.stack(list(columns_of(table).values()), axis=1), written)
    shutil.copy(result.path, tmp_path)
    lone = slotcli.load(tmp_path / result.path.name, folder / NAME)
    for name, column in columns_of(lone.tracks).items():
        np.testing.assert_array_equal(column, columns_of(table)[name], err_msg=name)


def test_objects_summarise_the_tracks(result):
    summaries = json.loads((result.path.parent / "tracks.json").read_text())["slots"]
    columns = result.object_columns
    for row, own in enumerate(summaries):
        for name, column in columns.items():
            expected = np.nan if own[name] is None else own[name]
            np.testing.assert_allclose(float(column[row]), float(expected), atol=2e-6)


def test_a_clip_that_is_gone_or_changed_is_an_error(folder, tmp_path, result):
    moved = tmp_path / "moved"
    shutil.copytree(folder / "out" / NAME, moved)
    shutil.rmtree(moved / "masks")
    recorded = json.loads((moved / "result.json").read_text())
    clip = shutil.copy(folder / NAME, tmp_path / "clip.mp4")
    recorded["source"]["path"] = str(clip)
    (moved / "result.json").write_text(json.dumps(recorded))
    assert slotcli.load(moved).frames()[3].shape == (48, 64, 3)  # a copy is the same clip
    page = slotcli.load(moved)._repr_html_()
    assert page.count("data:image/jpeg") == 5
    assert "&lt;b&gt; clip.mp4" in page
    assert "<b>" not in page
    make_clip(clip, 15)
    with pytest.raises(DataError, match="has changed"):
        slotcli.load(moved).frames()
    clip.unlink()
    with pytest.raises(NoInputError, match="no longer there"):
        slotcli.load(moved).frames()
    assert "no longer there" in slotcli.load(moved)._repr_html_()
    np.testing.assert_array_equal(slotcli.load(moved, folder / NAME).masks[2], result.masks[2])


def test_an_image_has_the_colours_of_the_overlay(result):
    shown = result.show(2)
    assert (shown.mode, shown.size) == ("RGB", (64, 48))
    with_clip, without = np.asarray(shown, int), np.asarray(result.show(2, source=False), int)
    np.testing.assert_array_equal(np.asarray(result.show(2, opacity=OPACITY)), with_clip)
    assert np.abs(with_clip - without).max() > 20


def test_renderings_are_the_command_lines(folder, result, tmp_path):
    rendering = slotcli.reconstruct(result, drop=[2], precision="fp32")
    frames = list(rendering)
    assert rendering.shape == (7, 48, 64, 3)
    assert np.abs(rendering[5].astype(int) - frames[5]).max() <= 1  # alone, and in a batch
    assert rendering.save(tmp_path / "ours.mp4") == []
    given = ["reconstruct", f"out/{NAME}", "--drop", 2, "-o", tmp_path / "theirs.mp4"]
    assert run_in(folder, *given, "--precision", "fp32", "--device", "cpu")[0] == 0
    assert (tmp_path / "ours.mp4").read_bytes() == (tmp_path / "theirs.mp4").read_bytes()
    kept = slotcli.reconstruct(result.path, keep=[1, 3, 4], precision="fp32")
    np.testing.assert_array_equal(kept[0], rendering[0])


def test_frames_are_exported_under_the_names_in_coco_json(result, tmp_path):
    places = result.export("coco", tmp_path, frames=True)
    assert places == [tmp_path / "coco.json", tmp_path / NAME]
    named = json.loads(places[0].read_text())["images"]
    for own, frame in zip(named, result.frames(), strict=True):
        with Image.open(tmp_path / own["file_name"]) as image:
            assert image.size == (own["width"], own["height"])
            assert np.abs(np.asarray(image, int) - frame).mean() < 3
    before = tree(tmp_path / NAME)
    assert result.export(["mots"], tmp_path, frames=True)[1] == places[1]  # there already
    assert tree(tmp_path / NAME) == before
    (tmp_path / NAME / "00000.jpg").unlink()
    with pytest.raises(CannotCreateError):
        result.export("npz", tmp_path, frames=True)


def test_commands_write_frames_too(cli, folder, tiny_model, tmp_path):
    clip = shutil.copy(folder / NAME, tmp_path)
    given = ["--model", tiny_model, "--masks", "coco", "--frames", "--max-frames", 3]
    assert cli("decompose", clip, *given, "-o", "out")[0] == 0
    written = tmp_path / "out" / NAME / NAME
    assert [path.name for path in sorted(written.iterdir())] == [f"{n:05d}.jpg" for n in range(3)]
    code, _, err = cli("export", f"out/{NAME}", "--masks", "none", "--frames", "-o", "exported")
    assert code == 0, err
    assert tree(tmp_path / "exported" / NAME) == tree(written)


@pytest.mark.parametrize(
    "wrong",
    [
        {"stride": 0},
        {"edges": "sharp"},
        {"masks": "gif"},
        {"background": "two"},
        {"size": 20},
        {"start": 2, "end": 1},
        {"precision": "fp8"},
        {"device": "tpu"},
    ],
)
def test_a_wrong_option_is_a_usage_error_before_any_work(folder, tiny_model, tmp_path, wrong):
    with pytest.raises(UsageError) as caught:
        slotcli.decompose(folder / NAME, tiny_model, out=tmp_path / "out", **wrong)
    assert caught.value.__notes__ == [caught.value.advice]
    assert not (tmp_path / "out").exists()


def test_failures_are_exceptions_that_other_processes_can_send(folder, tiny_model, tmp_path):
    with pytest.raises(NoInputError) as caught:
        slotcli.decompose(tmp_path / "absent.mp4", tiny_model, out=tmp_path)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), again.what, again.advice) == (
        NoInputError,
        caught.value.what,
        caught.value.advice,
    )
    with pytest.raises(NoInputError):
        slotcli.load(tmp_path)
    for name in "ab":
        shutil.copy(folder / NAME, tmp_path / f"{name}.mp4")
    with pytest.raises(UsageError, match="holds 2 clips"):
        slotcli.decompose(tmp_path, tiny_model, out=tmp_path / "out")
    with pytest.raises(UsageError, match="No object"):
        slotcli.reconstruct(folder / "out" / NAME, drop=[9])
    assert issubclass(NoInputError, SlotcliError)


def test_the_stub_has_the_names_of_the_package():
    stub = Path(slotcli.__file__).with_suffix(".pyi").read_text()
    assert set(re.findall(r"import \w+ as (\w+)", stub)) == set(slotcli._MODULES)
    assert set(slotcli._MODULES) <= set(dir(slotcli))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        slotcli.nothing  # noqa: B018


def test_arrays_cannot_be_written_to(result):
    for array in (result.slots, result.attention, result.frame_index):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert results.Result is slotcli.Result
