"""Which clips a command line means, and that one clip's trouble stays its own."""

import json
import os

import pytest
from made_clips import assert_refused, make_clip, make_images, mask_files, tree

pytestmark = pytest.mark.slow

ON = ["--device", "cpu", "--threads", "1", "--masks", "none"]
SUMMARY = {"summary.json", "summary.csv", "index.html"}


@pytest.fixture
def decompose(cli, tiny_model):
    def run(*arguments):
        return cli("decompose", *arguments, "--out", "out", "--model", tiny_model, *ON)

    return run


def _results(folder):
    out = folder / "out"
    return sorted(str(path.parent.relative_to(out)) for path in out.rglob("result.json"))


def test_folders_are_mirrored_below_with_recursive(decompose, tmp_path):
    for name in ("in/top.mp4", "in/a/x.mp4", "in/b/c/x.mp4"):
        make_clip(tmp_path / name, 2)
    make_images(tmp_path / "in/b/images")
    (tmp_path / "in/notes.txt").write_text("not a clip")
    assert decompose("in")[0] == 0
    assert _results(tmp_path) == ["top.mp4"]
    code, _, err = decompose("in", "-r")
    assert code == 0
    assert "out/top.mp4: done already." in err
    assert _results(tmp_path) == ["a/x.mp4", "b/c/x.mp4", "b/images", "top.mp4"]


def test_patterns_that_the_shell_left_alone(decompose, tmp_path):
    for name in ("one.mp4", "two.mp4", "deep/three.mp4", "other.mkv"):
        make_clip(tmp_path / name, 2)
    assert decompose("*.mp4")[0] == 0
    assert _results(tmp_path) == ["one.mp4", "two.mp4"]
    assert decompose("**/t*.mp4")[0] == 0
    assert _results(tmp_path) == ["one.mp4", "three.mp4", "two.mp4"]
    before = tree(tmp_path)
    code, _, err = decompose("*.avi")
    assert code == 66
    assert_refused(err)
    assert tree(tmp_path) == before


def test_a_name_with_the_signs_of_a_pattern_is_a_file_first(decompose, tmp_path):
    make_clip(tmp_path / "take[1].mp4", 2)
    assert decompose("take[1].mp4")[0] == 0
    assert _results(tmp_path) == ["take[1].mp4"]


def test_same_names_from_different_folders_do_not_meet(decompose, tmp_path):
    make_clip(tmp_path / "a/x.mp4", 2)
    make_clip(tmp_path / "b/x.mp4", 3)
    given = ["a/x.mp4", "b/x.mp4", "a/../a/x.mp4"]  # the last one is the first again
    assert decompose(*given)[0] == 0
    assert _results(tmp_path) == ["x.mp4", "x.mp4-2"]
    frames = {
        name: json.loads((tmp_path / "out" / name / "result.json").read_text())["counts"]["frames"]
        for name in _results(tmp_path)
    }
    assert frames == {"x.mp4": 2, "x.mp4-2": 3}


def test_done_means_done_for_this_source(decompose, tmp_path):
    for name, count in (("a/x.mp4", 2), ("b/x.mp4", 3), ("c/y.mp4", 2), ("d/x.mp4", 2)):
        make_clip(tmp_path / name, count)
    assert decompose("a/x.mp4")[0] == 0
    before = tree(tmp_path / "out")
    code, _, err = decompose("b/x.mp4", "c/y.mp4")
    assert code == 3
    assert "out/x.mp4: exists already" in err
    assert _results(tmp_path) == ["x.mp4", "y.mp4"]
    assert before.items() <= tree(tmp_path / "out").items()
    code, _, err = decompose("a/x.mp4", "--fit", "crop", "--stride", "2")
    assert code == 73
    assert "it was made with other options, or by a version without them (fit, stride)." in err
    # The same bytes in another place are the same source.
    code, _, err = decompose("d/x.mp4")
    assert code == 0
    assert "out/x.mp4: done already." in err


def test_one_bad_clip_does_not_cost_the_good_ones(decompose, tmp_path):
    make_clip(tmp_path / "a.mp4", 2)
    (tmp_path / "b.mp4").write_text("no video")
    make_clip(tmp_path / "c.mp4", 2)
    given = ["a.mp4", "b.mp4", "absent.mp4", "x" * 300 + ".mp4", "c.mp4"]
    code, out, err = decompose(*given)
    assert code == 3
    assert _results(tmp_path) == ["a.mp4", "c.mp4"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.mp4", "c.mp4", *SUMMARY}
    assert err.count("error: ") == 4  # three clips, and the sum of it
    assert "error: 3 of 5 clips failed" in err
    assert [line.split(":")[0] for line in out.splitlines()] == ["out/a.mp4", "out/c.mp4"]


def test_rerun_does_what_is_left(decompose, tmp_path):
    make_clip(tmp_path / "in/a.mp4", 2)
    make_clip(tmp_path / "in/b.mp4", 2)
    assert decompose("in/a.mp4")[0] == 0
    before = tree(tmp_path / "out")
    code, out, err = decompose("in")
    assert code == 0
    assert "out/a.mp4: done already." in err
    assert out.startswith("out/b.mp4: 2 frames")
    assert before.items() <= tree(tmp_path / "out").items()
    whole = tree(tmp_path / "out")
    assert decompose("in")[:2] == (0, "")
    assert tree(tmp_path / "out") == whole


def test_results_are_not_taken_for_clips(cli, tiny_model, tmp_path):
    make_clip(tmp_path / "a.mp4", 2)
    make_clip(tmp_path / "b.mp4", 2)
    given = ["decompose", ".", "-r", "--model", tiny_model, "--device", "cpu", "--threads", "1"]
    assert cli(*given)[0] == 0
    whole = tree(tmp_path)
    assert cli(*given)[:2] == (0, "")
    assert tree(tmp_path) == whole


def test_the_source_is_never_replaced_by_its_result(cli, tiny_model, tmp_path):
    make_clip(tmp_path / "a.mp4", 2)
    make_images(tmp_path / "frames")
    before = tree(tmp_path)
    for name in ("a.mp4", "frames"):
        given = ["decompose", name, "--out", ".", "--overwrite", "--model", tiny_model]
        code, _, err = cli(*given, *ON)
        assert code == 73
        assert_refused(err)
        assert "--overwrite" not in err
    assert tree(tmp_path) == before


def test_existing_result_stays_unless_told_otherwise(decompose, tmp_path):
    make_clip(tmp_path / "a.mp4", 2)
    assert decompose("a.mp4")[0] == 0
    before = tree(tmp_path)
    assert decompose("a.mp4")[:2] == (0, "")
    assert tree(tmp_path) == before
    for other in (["--chunk", "8"], ["--masks", "ffv1"], ["--stride", "2"], ["--reset", "scene"]):
        code, _, err = decompose("a.mp4", *other)
        assert code == 73
        assert_refused(err)
        assert tree(tmp_path) == before
    make_clip(tmp_path / "a.mp4", 5)
    assert decompose("a.mp4")[0] == 73
    assert decompose("a.mp4", "--overwrite", "--masks", "png")[0] == 0
    assert len(mask_files(tmp_path / "out/a.mp4/masks")) == 5
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.mp4"]


def test_names_of_all_kinds(cli, run_cli, tiny_model, tmp_path, monkeypatch):
    # A terminal that shows nothing but ASCII.
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    names = [
        b"caf\xe9.mp4",
        "café.mp4".encode(),
        b"-dash.mp4",
        b"with spaces.mp4",
        b"new\nline.mp4",
        b"%d.mp4",
        b"n" * 246 + b".mp4",
        b"<b>&quot;.mp4",
        b"nothing",
    ]
    for name in names:
        make_clip(tmp_path / os.fsdecode(name), 1)
    given = ["--out", "out", "--model", tiny_model, *ON, "--", *map(os.fsdecode, names)]
    ended = run_cli("decompose", *given)
    assert ended.returncode == 0, ended.stderr
    written = set(os.listdir(os.fsencode(tmp_path / "out")))
    assert written == {*names, *map(str.encode, SUMMARY)}
    assert len(ended.stdout.splitlines()) == len(names)
    page = (tmp_path / "out" / os.fsdecode(names[-2]) / "report.html").read_text()
    assert "&lt;b&gt;&amp;quot;.mp4" in page
    assert "<b>&quot;.mp4" not in page
    for name in (names[0], names[6]):
        given = ["reconstruct", tmp_path / "out" / os.fsdecode(name), "--evaluations", 1]
        code, _, err = cli(*given, "--sampler", "ddim", "--threads", 1)
        assert code == 0, err
