import csv
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from slotcli.checkpoint import load_model
from slotcli.data.datasets import TEST_SEEDS
from slotcli.data.scenes import render_clip
from slotcli.evaluation.baselines import BASELINES
from slotcli.evaluation.segmentation import segmentation_scores
from slotcli.evaluation.segmenter import Segmenter
from slotcli.evaluation.sources import open_source

ON = ["--device", "cpu", "--threads", "1"]
RESULTS = ["evaluation.json", "clips.csv"]


def _rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr("slotcli.evaluation.intervals.RESAMPLES", 50)


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
    summary = json.loads((tmp_path / "scores/evaluation.json").read_text())
    assert list(summary["segmentation"]) == sorted(["model", *BASELINES])
    mean = np.mean([float(row["ari"]) for row in rows if row["row"] == "model" and row["ari"]])
    assert summary["segmentation"]["model"]["ari"]["mean"] == pytest.approx(mean)
    assert set(summary["pictures"]) == {"model", "codec alone", "first frame copied"}
    assert summary["audit"]["clips"] == 2
    # The model stands first in the table, the baselines below it.
    names = [line.strip() for line in out.splitlines() if line.startswith(" ")]
    assert next(n for n in names if not n.startswith("FG")).startswith("model")
    assert "k-means colour" in out


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
    assert summary["segmentation"]["model"]["ari"]["low"] is None  # one clip has no interval


def test_existing_results_are_kept(cli, tiny_model, tmp_path):
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores/evaluation.json").write_text("precious")
    code, _, err = cli("evaluate", "--model", tiny_model, "--out", "scores", *ON)
    assert code == 73
    assert "--overwrite" in err
    assert (tmp_path / "scores/evaluation.json").read_text() == "precious"


def test_videos_without_labels_cannot_be_scored(cli, tiny_model, written):
    code, _, err = cli("evaluate", "--model", tiny_model, "--data", written / "videos", *ON)
    assert code == 2
    assert "slotcli audit" in err


def test_masks_of_another_clip_are_found_out(cli, tiny_model, written):
    other = written / "masks/A-4.mkv"
    other.unlink()
    code, _, err = cli("evaluate", "--model", tiny_model, "--data", written, *ON)
    assert code == 66
    assert "A-4.mkv" in err


def test_a_model_without_weights_is_unavailable(cli):
    code, _, err = cli("evaluate", "--model", "slotdiffusion-movi-e", *ON)
    assert code == 69
    assert "no weights" in err
