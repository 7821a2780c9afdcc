import csv
import hashlib
import json
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from slotcli.checkpoint import load_model
from slotcli.errors import OutputError
from slotcli.evaluation.baselines import BASELINES
from slotcli.evaluation.perceptual import open_lpips
from slotcli.evaluation.segmentation import segmentation_scores
from slotcli.evaluation.segmenter import Segmenter
from slotcli.evaluation.sources import open_source
from slotcli.scenes import render_clip
from slotcli.scenes.seeds import TEST_SEEDS, VALIDATION_SEEDS

pytestmark = pytest.mark.slow

ON = ["--device", "cpu", "--threads", "1"]
RESULTS = ["evaluation.json", "clips.csv"]


def _rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr("slotcli.evaluation.intervals.RESAMPLES", 50)


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    """No weights of LPIPS, whatever this machine has."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))


@pytest.fixture
def squeeze(tmp_path):
    """A file like torchvision's SqueezeNet, with random weights."""
    features = torchvision.models.squeezenet1_1(num_classes=1).features
    path = tmp_path / "squeeze.pth"
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, path)
    return path


def _quick(*arguments):
    return ["evaluate", "--data", "synth:A", "--clips", "1", "--frames", "2", *arguments, *ON]


@pytest.fixture
def written(cli, tmp_path):
    """A folder as data synth writes it, of frames larger than the model's."""
    made = "data synth clips --tier A --clips 2 --frames 3 --size 40x48 --masks ffv1 --seed 3"
    assert cli(*made.split(), *ON)[0] == 0
    return tmp_path / "clips"


def test_scores_of_rendered_clips_agree_with_scikit_learn(cli, tiny_model, tmp_path):
    code, out, _ = cli(
        *[
            "evaluate",
            "--data",
            "synth:A",
            "--clips",
            "2",
            "--frames",
            "3",
            "--render",
            "1",
            "--out",
            "scores",
            "--model",
        ],
        tiny_model,
        *ON,
    )
    assert code == 0
    rows = _rows(tmp_path / "scores/clips.csv")
    segment = Segmenter(load_model(str(tiny_model)).module, torch.device("cpu"))
    for seed in (TEST_SEEDS, TEST_SEEDS + 1):
        clip = render_clip(seed, "A", 3, (32, 32))
        assert clip.labels is not None
        truth, found = clip.labels.numpy().ravel(), segment(clip.frames[None]).ravel()
        [row] = [r for r in rows if r["clip"] == f"A-{seed}" and r["row"] == "model"]
        assert float(row["ari"]) == pytest.approx(adjusted_rand_score(truth, found))
        front = truth > 0
        expected = adjusted_rand_score(truth[front], found[front])
        assert float(row["fg_ari"]) == pytest.approx(expected)
        pairs = zip(clip.labels.numpy(), segment(clip.frames[None])[0], strict=True)
        each = [adjusted_rand_score(x.ravel(), y.ravel()) for x, y in pairs]
        assert float(row["ari_per_frame"]) == pytest.approx(np.mean(each))
    summary = json.loads((tmp_path / "scores/evaluation.json").read_text())
    assert list(summary["segmentation"]) == sorted(["model", *BASELINES])
    mean = np.mean([float(row["ari"]) for row in rows if row["row"] == "model" and row["ari"]])
    assert summary["segmentation"]["model"]["ari"]["mean"] == pytest.approx(mean)
    assert list(summary["segmentation_per_frame"]) == sorted(["model", *BASELINES])
    assert set(summary["pictures"]) == {
        "model",
        "codec alone",
        "first frame copied",
        "mean colour",
        "k-means mosaic",
    }
    assert summary["audit"]["clips"] == 2
    kept = summary["segmentation"]["model"]["identity"]["mean"]
    assert f"Objects with one label in the first and last frame: {100 * kept:.1f}" in out
    assert "identity_per_frame" not in (tmp_path / "scores/clips.csv").read_text()
    # Both tables begin with the model, and all baselines stand below it.
    names = [line.split("  ")[0].strip() for line in out.splitlines() if line.startswith(" ")]
    rows = ["model", *BASELINES]
    tables = [names[i : i + len(rows)] for i, name in enumerate(names) if name == "model"]
    assert tables[:2] == [rows, rows]


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_of_the_tables_is_broken(cli, tiny_model, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = cli(*_quick("--model", tiny_model, "--clips", "3"))
    assert code == 0
    for row in BASELINES:
        lines = [line for line in out.splitlines() if line.strip().startswith(row + " ")]
        assert [len(line.split("±")) for line in lines] == [6, 6]


def test_missing_weights_of_lpips_are_said_and_recorded(cli, tiny_model):
    code, out, err = cli("--json", *_quick("--model", tiny_model))
    assert code == 0
    summary = json.loads(out)
    found = summary["pictures"]["model"]["lpips"]
    assert (found["mean"], found["dropped"]) == (None, 1)
    assert summary["lpips"] is None
    assert "vgg16-397923af.pth is missing" in summary["undefined"]["lpips"]
    assert "LPIPS: " in err
    assert "vgg16-397923af.pth is missing" in err


def test_lpips_is_taken_with_the_weights_given(cli, tiny_model, squeeze, tmp_path):
    code, _, err = cli(
        *_quick("--model", tiny_model, "--lpips", "squeeze", "--out", "scores"),
        *["--lpips-weights", squeeze],
    )
    assert code == 0
    assert "not torchvision's weights" in err
    [row] = [r for r in _rows(tmp_path / "scores/clips.csv") if r["row"] == "first frame copied"]
    frames = render_clip(TEST_SEEDS, "A", 2, (32, 32)).frames.float() / 127.5 - 1
    distance = open_lpips("squeeze", squeeze, torch.device("cpu"))
    assert float(row["lpips"]) == pytest.approx(distance(frames[1:], frames[:1]), rel=1e-4)
    summary = json.loads((tmp_path / "scores/evaluation.json").read_text())
    digest = hashlib.sha256(squeeze.read_bytes()).hexdigest()
    assert summary["lpips"] == {"trunk": "squeeze", "weights_sha256": digest, "published": False}
    assert "lpips" not in summary["undefined"]


def test_weights_of_lpips_that_were_asked_for_have_to_be_there(cli, tiny_model, squeeze):
    absent = _quick("--model", tiny_model, "--lpips-weights", "absent.pth")
    code, _, err = cli(*absent)
    assert (code, "absent.pth" in err) == (66, True)
    code, _, err = cli(*_quick("--model", tiny_model, "--lpips-weights", squeeze))
    assert (code, "squeeze.pth" in err) == (65, True)
    assert cli(*absent, "--lpips", "off")[0] == 2


def test_choices_are_recorded(cli, tiny_model):
    chosen = ["--argmax", "before", "--split", "validation", "--lpips", "off"]
    code, out, _ = cli("--json", *_quick("--model", tiny_model, *chosen, "--render-frames", "1"))
    assert code == 0
    summary = json.loads(out)
    assert summary["method"]["argmax"] == "before"
    assert summary["method"]["frames_drawn_of_a_clip"] == 1
    assert summary["data"]["split"] == "validation"
    assert summary["data"]["first_clip"] == f"A-{VALIDATION_SEEDS}"
    assert "--lpips off" in summary["undefined"]["lpips"]
    after = cli("--json", *_quick("--model", tiny_model, "--split", "validation"))[1]
    scores = [
        text["segmentation"]["model"]["miou"]["mean"] for text in (summary, json.loads(after))
    ]
    assert scores[0] != scores[1]


def test_a_written_folder_is_scored_at_its_own_size_and_twice_alike(
    cli, tiny_model, written, tmp_path
):
    for out in ("first", "second"):
        code, _, err = cli(
            *["evaluate", "--render", "1", "--model"],
            tiny_model,
            "--data",
            written,
            "--out",
            out,
            *ON,
        )
        assert code == 0, err
    for name in RESULTS:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    row = _rows(tmp_path / "first/clips.csv")[0]
    labels = render_clip(3, "A", 3, (40, 48)).labels
    assert labels is not None
    source = open_source(str(written), clips=1, frames=9, size=(32, 32), first_seed=0)
    frames = source.load(0).frames
    found = Segmenter(load_model(str(tiny_model)).module, torch.device("cpu"))(frames[None])[0]
    assert found.shape == labels.shape
    assert float(row["mbo"]) == pytest.approx(segmentation_scores(labels.numpy(), found).mbo)


def test_a_model_no_better_than_trivial_is_said_to_be(cli, tiny_model):
    code, out, err = cli(
        *[
            "--json",
            "evaluate",
            "--data",
            "synth:A",
            "--clips",
            "1",
            "--frames",
            "1",
            "--render",
            "0",
            "--model",
        ],
        tiny_model,
        *ON,
    )
    assert code == 0
    assert "FG-ARI: no better than" in err
    summary = json.loads(out)
    assert (summary["pictures"], summary["audit"]) == ({}, None)
    assert "--render 0" in summary["undefined"]["pictures"]
    assert "2 clips" in summary["undefined"]["audit"]
    assert summary["segmentation"]["model"]["ari"]["low"] is None  # one clip has no interval


def test_existing_results_are_kept(cli, tiny_model, tmp_path):
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores/evaluation.json").write_text("precious")
    code, _, err = cli("evaluate", "--model", tiny_model, "--out", "scores", *ON)
    assert code == 73
    assert "--overwrite" in err
    assert (tmp_path / "scores/evaluation.json").read_text() == "precious"


def test_results_that_are_replaced_are_replaced_whole(cli, tiny_model, tmp_path):
    (tmp_path / "scores").mkdir()
    for name in RESULTS:
        (tmp_path / "scores" / name).write_text("old")
    chosen = ["--model", tiny_model, "--out", "scores", "--overwrite", "--render", "0"]
    assert cli(*_quick(*chosen))[0] == 0
    assert "old" not in (tmp_path / "scores/clips.csv").read_text()
    assert json.loads((tmp_path / "scores/evaluation.json").read_text())["schema"]


def test_an_old_summary_never_stands_beside_new_scores(cli, tiny_model, tmp_path, monkeypatch):
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores/evaluation.json").write_text("old")
    full = Mock(side_effect=OutputError("The disk is full.", "Free some space."))
    monkeypatch.setattr("slotcli.evaluation.score_files.write_summary", full)
    chosen = ["--model", tiny_model, "--out", "scores", "--overwrite", "--render", "0"]
    assert cli(*_quick(*chosen))[0] == 74
    assert [path.name for path in (tmp_path / "scores").iterdir()] == ["clips.csv"]


def test_a_place_that_cannot_be_written_is_found_out_before_the_work(
    cli, tiny_model, tmp_path, monkeypatch
):
    (tmp_path / "scores").write_text("a file")
    monkeypatch.setattr("slotcli.evaluation.model_scores.evaluate_model", pytest.fail)
    code, _, err = cli(*_quick("--model", tiny_model, "--out", "scores"))
    assert (code, "scores" in err) == (73, True)


def test_videos_without_labels_cannot_be_scored(cli, tiny_model, written):
    code, _, err = cli("evaluate", "--model", tiny_model, "--data", written / "videos", *ON)
    assert code == 2
    assert "slotcli audit" in err


def test_clips_without_splits_have_none(cli, tiny_model, written):
    code, _, err = cli("evaluate", "--model", tiny_model, "--data", written, "--split", "test", *ON)
    assert (code, "no splits" in err) == (2, True)
    code, out, _ = cli("--json", "evaluate", "--model", tiny_model, "--data", written, *ON)
    assert code == 0
    assert (json.loads(out)["data"]["kind"], json.loads(out)["data"]["split"]) == ("synth", None)


def test_a_split_of_a_published_data_set_is_scored(cli, tiny_model, tmp_path):
    for seed in (3, 4):
        clip = render_clip(seed, "A", 2, (32, 32))
        assert clip.labels is not None
        folder = tmp_path / f"MOVi-D/validation/{seed:08}"
        folder.mkdir(parents=True)
        for time in range(2):
            picture = clip.frames[time].permute(1, 2, 0).numpy()
            Image.fromarray(picture).save(folder / f"{time:06}.png")
            Image.fromarray(clip.labels[time].numpy()).save(folder / f"{time:06}_mask.png")
    place = ["evaluate", "--model", tiny_model, "--data", tmp_path / "MOVi-D", "--out", "scores"]
    assert cli(*place, *ON)[0] == 66  # there is no test split
    code, _, err = cli(*place, "--split", "validation", *ON)
    assert code == 0, err
    summary = json.loads((tmp_path / "scores/evaluation.json").read_text())
    told = summary["data"]
    assert (told["kind"], told["split"], told["clips"]) == ("movi", "validation", 2)
    segment = Segmenter(load_model(str(tiny_model)).module, torch.device("cpu"))
    rows = [row for row in _rows(tmp_path / "scores/clips.csv") if row["row"] == "model"]
    for seed, row in zip((3, 4), rows, strict=True):
        clip = render_clip(seed, "A", 2, (32, 32))
        assert clip.labels is not None
        expected = segmentation_scores(clip.labels.numpy(), segment(clip.frames[None])[0])
        assert float(row["miou"]) == pytest.approx(expected.miou)


def test_masks_of_another_clip_are_found_out(cli, tiny_model, written, tmp_path):
    other = written / "masks/A-4.mkv"
    other.unlink()
    scores = tmp_path / "scores"
    code, _, err = cli(
        *["evaluate", "--model", tiny_model, "--data", written, "--out", scores, *ON]
    )
    assert code == 66
    assert "A-4.mkv" in err
    assert list(scores.iterdir()) == []  # nothing half written, though a clip was scored


def test_a_model_without_weights_is_unavailable(cli):
    code, _, err = cli("evaluate", "--model", "slotdiffusion-movi-e", *ON)
    assert code == 69
    assert "no weights" in err
