import json
from html.parser import HTMLParser
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from made_clips import UNEVEN, assert_refused, make_clip, run_in, tree

from slotcli.report.mask_sheet import sheet_name, write_mask_sheet
from slotcli.training.run_facts import write_run_facts

ON = ["--device", "cpu", "--threads", "1"]
MADE = ["overlay.mp4", "report.html", "strip.png"]


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.text, self.files = "", []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.files += [value for key, value in attrs if key == "src"]

    def handle_data(self, data):
        self.text += f" {data}"


@pytest.fixture(scope="module")
def results(tmp_path_factory, tiny_model):
    """Results of one clip: of all of it, and of an excerpt with another fit."""
    folder = tmp_path_factory.mktemp("report")
    make_clip(folder / "clip.mp4", len(UNEVEN), (48, 64), UNEVEN)
    for out, options in {
        "plain": [],
        "excerpt": ["--start", "0.15", "--stride", "2", "--fit", "crop"],
    }.items():
        given = ["decompose", "clip.mp4", "--out", out, "--model", tiny_model, *options]
        code, _, err = run_in(folder, *given, *ON)
        assert code == 0, err
    return folder


@pytest.fixture(params=["plain", "excerpt"])
def result(request, results, tmp_path):
    """A result as decompose wrote it, to be changed."""
    return Path(copytree(results / request.param / "clip.mp4", tmp_path / "result"))


def test_a_result_gets_the_bytes_that_decompose_wrote(cli, result):
    before = tree(result)
    for name in MADE:
        (result / name).unlink()
    code, out, _ = cli("--json", "report", result)
    assert code == 0
    assert sorted(json.loads(out)["written"]) == MADE
    assert tree(result) == before


def test_a_source_that_moved(cli, result, results):
    before = tree(result)
    moved = (results / "clip.mp4").rename(results / "moved.mp4")
    try:
        code, out, err = cli("report", result)
        assert (code, out) == (66, "")
        assert_refused(err)
        assert "--video" in err
        assert tree(result) == before
        for name in MADE:
            (result / name).write_bytes(b"old")
        assert cli("report", result, "--video", moved)[0] == 0
        assert tree(result) == before
    finally:
        moved.rename(results / "clip.mp4")


def test_a_page_in_several_files_and_back(cli, result):
    before, size = tree(result), (result / "report.html").stat().st_size
    code, out, _ = cli("--json", "report", result, "--page", "linked", "--opacity", "0.8")
    assert code == 0
    assert sorted(json.loads(out)["written"]) == sorted(
        [*MADE, "report-clip.js", "report-clip.mp4"]
    )
    after = tree(result)
    assert (result / "report.html").stat().st_size < size
    assert {name for name in before if after[name] != before[name]} == set(MADE)
    assert 'value="0.8"' in (result / "report.html").read_text()
    assert cli("report", result)[0] == 0
    assert tree(result) == before


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("tracks.json", b"{", 65),
        ("tracks.json", b'{"slots": []}', 65),
        ("tracks.json", b'{"slots": [{"slot": "0"}]}', 65),
        ("tracks.json", b'{"slots": [{"id": "0"}]}', 65),
        ("tracks.json", b'{"slots": [7]}', 65),
        ("result.json", b"[]", 65),
        ("result.json", b'{"source": {"path": 7}, "warnings": [], "seconds": 1}', 65),
        ("clip.slots.safetensors", b"none", 65),
    ],
)
def test_a_damaged_result_is_left_as_it_is(cli, result, name, content, code):
    (result / name).write_bytes(content)
    before = tree(result)
    found, out, err = cli("report", result)
    assert (found, out) == (code, "")
    assert_refused(err)
    assert tree(result) == before


def test_another_clip_is_refused(cli, result, tmp_path):
    make_clip(tmp_path / "other.mp4", 3, (48, 64))
    before = tree(result)
    code, _, err = cli("report", result, "--video", "other.mp4")
    assert code == 65
    assert_refused(err)
    assert tree(result) == before


@pytest.fixture
def run_folder(tmp_path, tiny_slot_spec):
    """A run of four steps, two evaluations, stopped once."""
    folder = tmp_path / "run"
    hostile = "<b>clips</b>"
    write_run_facts(folder, tiny_slot_spec, ["slotcli", "train", "--data", hostile], 0, "fp32")
    write_run_facts(folder, tiny_slot_spec, ["slotcli", "train", "--data", hostile], 2, "fp32")
    rows = [
        {"step": 1, "loss": 1.0, "gradient_norm": 2.0},
        {"step": 2, "loss": 0.5, "degeneration": 0.9, "shift_equivariance": 0.1, "fg_ari": 0.25},
        {"step": 4, "loss": 0.25, "degeneration": 0.3, "shift_equivariance": 0.7, "fg_ari": None},
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    frames = torch.full((2, 3, 3, 32, 32), 90, dtype=torch.uint8)
    for step in (2, 4, 6):
        write_mask_sheet(folder / sheet_name(step), frames, np.zeros((2, 3, 32, 32), np.uint8))
    return folder


def test_the_page_of_a_run(cli, run_folder):
    code, out, _ = cli("report", "run")
    assert (code, out) == (0, "run/report.html\n")
    page = Page(run_folder / "report.html")
    # The sheet of step 6 is of an attempt that was given up for that of step 2.
    assert page.files == [sheet_name(2), sheet_name(4)]
    assert "4 of 4 training steps." in page.text
    assert "slotcli train --data '<b>clips</b>'" in page.text
    assert "from step 2" in page.text
    assert "Step Degeneration Shift equivariance FG-ARI 2 0.9 0.1 0.25 4 0.3 0.7 -" in page.text
    assert (
        "slotcli audit gives the verdict Check Score Wanted Shift equivariance 0.7 > 0.25 passed"
        in (page.text)
    )
    assert "num_slots = 3" in page.text
    assert "Warnings" not in page.text
    # Slots are chosen by degeneration; the file beside the page has the same panels.
    assert "Curves Degeneration 0.3 " in page.text
    assert "Degeneration, last 0.3" in (run_folder / "curves.svg").read_text()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"degeneration": 0.75}, "Degeneration is 0.75 at step 5"),
        ({"loss": None}, "not a finite number in 1 of 4 logged rows"),
        ({"loss": float("nan")}, "not a finite number in 1 of 4 logged rows"),
        ({"skipped": 3, "rollbacks": 1}, "3 steps were skipped"),
    ],
)
def test_what_went_wrong_is_said_first(cli, run_folder, row, said):
    with (run_folder / "log.jsonl").open("a") as file:
        file.write(json.dumps({"step": 5, "loss": 0.1, **row}) + "\n")
    assert cli("report", "run")[0] == 0
    page = Page(run_folder / "report.html")
    assert said in page.text[page.text.index("Warnings") : page.text.index("Curves")]


def test_a_codebook_that_lies_idle_is_said(cli, tmp_path, tiny_codec_spec):
    write_run_facts(tmp_path, tiny_codec_spec, ["slotcli", "pretrain"], 0, "fp32")
    (tmp_path / "log.jsonl").write_text('{"step": 3, "loss": 0.1, "codes_used": 0.0}\n')
    assert cli("report", ".")[0] == 0
    text = Page(tmp_path / "report.html").text
    assert "A batch uses 0 of 32 codes" in text
    assert "A codec, 3 of 4 training steps, not finished." in text


def test_what_is_not_known_of_a_run_is_said(cli, tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 3, "loss": 0.1}\n')
    (tmp_path / "model.toml").write_text("kind = 7")
    assert cli("report", ".")[0] == 0
    text = Page(tmp_path / "report.html").text
    assert "What was trained is not known" in text
    assert "no readable run.json" in text


def test_a_sheet_that_cannot_be_shown_is_said(cli, run_folder):
    (run_folder / sheet_name(2)).write_bytes(b"no picture")
    assert cli("report", "run")[0] == 0
    page = Page(run_folder / "report.html")
    assert page.files == [sheet_name(4)]
    assert f"{sheet_name(2)} cannot be shown" in page.text


@pytest.mark.parametrize(
    ("log", "options", "code"),
    [
        ("", [], 66),
        ("{\n", [], 65),
        ('{"step": 1}\n', ["--video", "a.mp4"], 2),
        ('{"step": 1}\n', ["--page", "linked"], 2),
        (None, [], 66),
    ],
)
def test_what_has_no_page(cli, tmp_path, log, options, code):
    if log is not None:
        (tmp_path / "log.jsonl").write_text(log)
    before = tree(tmp_path)
    found, out, err = cli("report", ".", *options)
    assert (found, out) == (code, "")
    assert_refused(err)
    assert tree(tmp_path) == before
