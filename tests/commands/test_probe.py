"""slotcli probe on the results of an untrained model, whose tracks give the labels."""

import csv
import json

import numpy as np
import pytest
from made_clips import assert_refused, run_in
from sklearn.metrics import r2_score

from slotcli.evaluation import mlp_readout

CLIPS = 7


@pytest.fixture(scope="module")
def results(tiny_model, tmp_path_factory):
    """Results of seven short clips."""
    folder = tmp_path_factory.mktemp("probed")
    for command in (
        f"data synth made --tier A --clips {CLIPS} --frames 3 --size 32 --device cpu --threads 1",
        f"decompose made/videos --model {tiny_model} --masks none --no-overlay --device cpu "
        "--threads 1 --out results",
    ):
        code, _, err = run_in(folder, *command.split())
        assert code == 0, err
    return folder / "results"


@pytest.fixture(autouse=True)
def short_training(monkeypatch):
    monkeypatch.setattr(mlp_readout, "STOPS", (0, 10))


def tracks(results):
    """The clip and the row of each object with pixels, in every frame of every clip."""
    for path in sorted(results.glob("*/tracks.csv")):
        with path.open() as file:
            for row in csv.DictReader(file):
                if int(row["area"]):
                    yield path.parent.name, row


def write(path, head, rows):
    path.write_text("\n".join(",".join(map(str, row)) for row in [head, *rows]) + "\n")
    return path


@pytest.fixture
def labels(results, tmp_path):
    """Where each object is, in which half, and which of three kinds it is by chance."""
    rng = np.random.default_rng(0)
    rows = [
        (
            clip,
            row["frame_index"],
            row["id"],
            row["centroid_x"],
            "left" if float(row["centroid_x"]) < 16 else "right",
            rng.integers(3),
        )
        for clip, row in tracks(results)
    ]
    head = ("clip", "frame", "object", "x", "half", "kind")
    return write(tmp_path / "labels.csv", head, rows)


def test_what_tracks_contain_is_read_from_tracks_and_everything_is_written(
    cli, results, labels, tmp_path
):
    code, out, err = cli(
        "--json", "probe", results, "--labels", labels, "--classes", "kind", "-o", "probed"
    )
    assert code == 0, err
    record = json.loads(out)
    assert record == json.loads((tmp_path / "probed/probe.json").read_text())
    assert (record["schema"], record["folds"]) == ("slotcli.probe/1", 5)
    assert (record["model"]["name"], record["model"]["slot_dim"]) == ("tiny-model", 32)
    assert record["left_out"] == []
    x, half, kind = record["targets"]
    assert (x["kind"], half["kind"], kind["kind"]) == ("numbers", "classes", "classes")
    assert (half["classes"], kind["classes"]) == (["left", "right"], ["0", "1", "2"])
    assert {own["clips"] for own in (x, half, kind)} == {CLIPS}
    r2 = {own["name"]: own["scores"]["r2"]["value"] for own in x["readouts"]}
    assert r2["area and centroid, linear"] > 0.999
    assert r2["mean"] < 0.05
    assert [lead["ahead"] for lead in x["leads"]] == [False, False]
    with (tmp_path / "probed/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    count = len(list(tracks(results)))
    assert len(rows) == count * 3 * 6
    for own in x["readouts"]:
        of = [row for row in rows if (row["target"], row["readout"]) == ("x", own["name"])]
        truth, found = ([float(row[name]) for row in of] for name in ("truth", "prediction"))
        assert r2_score(truth, found) == pytest.approx(own["scores"]["r2"]["value"])
        if own["features"] != "labels of other clips":
            folds = {(row["clip"], row["fold"]) for row in of}
            assert len(folds) == CLIPS
            assert {fold for _, fold in folds} == set("01234")
    assert {row["prediction"] for row in rows if row["target"] == "half"} <= {"left", "right"}


def test_the_table_says_what_was_detected_missing_and_left_out(cli, results, labels):
    lines = labels.read_text().splitlines()
    cells = lines[1].split(",")
    lines[1] = ",".join([*cells[:3], "", *cells[4:]])
    lines += ["absent.mp4,0,1,3,left,0", "A-0.mp4,0,77,3,left,0", "A-0.mp4,66,1,3,left,0"]
    labels.write_text("\n".join(lines))
    code, out, err = cli(
        "probe", results, "--labels", labels, "--readouts", "linear", "--targets", "x,half"
    )
    assert code == 0, err
    assert "tiny-model (4 slots of 32 numbers). Folds: 5, by clip." in out
    rows = len(lines) - 4
    assert f"x, of each object in a frame: numbers. {rows - 1} rows of 7 clips; 1 missing." in out
    assert "half, of each object in a frame: 2 classes (left, right), as 'left' on line 2" in out
    assert "mean absolute error" in out
    assert "balanced accuracy" in out
    assert "slots, linear: behind the best baseline, area and centroid, linear (R2 -" in out
    assert "MLP" not in out
    assert f"3 of {rows + 3} rows of the labels are left out:" in err
    assert "absent.mp4: no such result (1 row)" in err
    assert "A-0.mp4: no object 77 (1 row)" in err
    assert "A-0.mp4: no frame 66 (1 row)" in err
    assert "Intervals from fewer than 16 clips are too narrow" in err


def test_scenes_are_read_and_what_cannot_be_is_null_with_the_reason(cli, results, tmp_path):
    names = sorted(path.parent.name for path in results.glob("*/result.json"))
    rows = [(name.removesuffix(".mp4"), number, 1) for number, name in enumerate(names)]
    path = write(tmp_path / "l.csv", ("clip", "count", "same"), rows)
    command = ("--json", "probe", results, "--labels", path, "--folds", 3, "--readouts", "linear")
    code, out, err = cli(*command)
    assert code == 0, err
    count, same = json.loads(out)["targets"]
    assert count["level"] == same["level"] == "scene over a clip"
    assert count["readouts"][1]["features"] == "number and area of objects"
    assert count["readouts"][0]["scores"]["r2"]["low"] is not None
    assert (same["readouts"], same["leads"]) == (None, None)
    assert same["reason"] == "All its labels are equal."
    assert "read as numbers; --classes count" in cli(*command[1:])[2]
    assert cli(*command)[1] == out  # the same each time


def test_few_clips_have_scores_without_intervals(cli, results, tmp_path):
    rows = [(f"A-{number}.mp4", number % 3) for number in range(4)]
    path = write(tmp_path / "l.csv", ("clip", "x"), rows)
    command = ("probe", results, "--labels", path, "--folds", 4)
    _, out, _ = cli("--json", *command)
    [target] = json.loads(out)["targets"]
    score = target["readouts"][0]["scores"]["r2"]
    assert score["value"] is not None
    assert (score["low"], score["high"]) == (None, None)
    assert score["reason"] == "An interval needs 6 clips."
    assert [lead["ahead"] for lead in target["leads"]] == [None, None]
    assert "too few clips to tell whether it is ahead" in cli(*command)[1]


@pytest.mark.parametrize(
    ("text", "options", "expected", "said"),
    [
        ("clip,x\nA-0,1\nA-1,2\nA-2,3\n", [], 2, "use --folds 3."),
        ("clip,x\nA-0,1\nA-1,2\n", [], 65, "2 clips have labels, and 5 folds by clip need 5."),
        ("clip,x\nA-0,1\nA-1,1\nA-2,1\n", ["--folds", 3], 65, "All its labels are equal."),
        ("clip,x\nA-0,\nA-1,\n", [], 65, "no cell of its targets has a label"),
        ("clip,x\nB-0,1\n", [], 66, "B-0: no such result (1 row)"),
        ("video,x\nA-0,1\n", [], 65, "no column 'clip'"),
        ("clip,x\n", [], 66, "no rows"),
        ("clip,x\nA-0,1\n", ["--classes", "y"], 2, "no such column"),
        ("clip,x\nA-0,1\n", ["--readouts", "tree"], 2, "--readouts tree: no such choice."),
        ("clip,x\nA-0,1\n", ["--folds", 1], 2, "--folds 1: has to be 2 or more."),
    ],
)
def test_mistakes_are_two_lines_and_write_nothing(
    cli, results, tmp_path, text, options, expected, said
):
    path = tmp_path / "l.csv"
    path.write_text(text)
    code, out, err = cli("probe", results, "--labels", path, "-o", "probed", *options)
    assert (code, out) == (expected, ""), err
    assert_refused(err)
    assert said in err
    assert not (tmp_path / "probed").exists()


def test_results_of_two_models_are_refused(cli, results, tiny_drawing_model, labels, tmp_path):
    clip = results.parent / "made/videos/A-0.mp4"
    on = ["--masks", "none", "--no-overlay", "--device", "cpu", "--threads", "1"]
    code, _, err = cli("decompose", clip, "--model", tiny_drawing_model, "-o", "other", *on)
    assert code == 0, err
    code, out, err = cli("probe", results, "other", "--labels", labels)
    assert (code, out) == (2, "")
    assert_refused(err)
    assert "was made by tiny-drawing (" in err
    assert "others by tiny-model (" in err


def test_a_probe_is_not_replaced_unless_asked(cli, results, labels, tmp_path):
    (tmp_path / "probed").mkdir()
    (tmp_path / "probed/probe.json").write_text("{}")
    command = ("probe", results, "--labels", labels, "-o", "probed", "--targets", "x")
    code, _, err = cli(*command)
    assert code == 73
    assert_refused(err)
    code, _, err = cli(*command, "--readouts", "linear", "--overwrite")
    assert code == 0, err
    assert json.loads((tmp_path / "probed/probe.json").read_text())["schema"] == "slotcli.probe/1"
