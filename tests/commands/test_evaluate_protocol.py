"""evaluate --protocol on published data sets' files: beside slotcli's own scores, by name."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pycocotools import mask as coco
from sklearn.metrics import adjusted_rand_score

from slotcli.build import build_model
from slotcli.checkpoint import WEIGHTS, load_model, save_model
from slotcli.spec import SlotModelSpec

pytestmark = pytest.mark.slow

Cli = Callable[..., tuple[int, str, str]]
ON = ("--device", "cpu", "--threads", "1", "--lpips", "off", "--render", "0")
FRAMES, SIZE = 7, (36, 60)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slotcli.evaluation.intervals.RESAMPLES", 50)


@pytest.fixture
def feature_model(tmp_path: Path, feature_specs: dict[str, SlotModelSpec]) -> Path:
    spec = feature_specs["slot_mixer"]
    torch.manual_seed(3)
    folder = tmp_path / "on-a-vit"
    save_model(folder / WEIGHTS, spec, build_model(spec).state_dict(), 0, {})
    return folder


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Frames of smooth noise, and labels of two boxes that move; wider than high."""
    rng = np.random.default_rng(1)
    frames = np.stack(
        [
            cv2.resize(rng.integers(0, 256, (5, 7, 3), np.uint8), SIZE[::-1], interpolation=2)
            for _ in range(FRAMES)
        ]
    )
    labels = np.zeros((FRAMES, *SIZE), np.uint8)
    for time in range(FRAMES):
        labels[time, 4:16, 10 + time : 25 + time] = 1
        labels[time, 20:34, 45 - time : 60 - time] = 2
    return frames, labels


def as_davis(folder: Path) -> list[str]:
    frames, labels = pictures()
    labels[:, :, :14] = 255  # void, in part within the square
    (folder / "ImageSets/2017").mkdir(parents=True)
    (folder / "ImageSets/2017/val.txt").write_text("boxes\n")
    for place in ("JPEGImages", "Annotations"):
        (folder / place / "480p/boxes").mkdir(parents=True)
    for time, (frame, ids) in enumerate(zip(frames, labels, strict=True)):
        path = folder / f"JPEGImages/480p/boxes/{time:05d}.jpg"
        Image.fromarray(frame).save(path, quality=95)
        mask = Image.fromarray(ids, mode="P")
        mask.putpalette(list(range(256)) * 3)
        mask.save(folder / f"Annotations/480p/boxes/{time:05d}.png")
    return ["--split", "validation"]


def as_movi(folder: Path) -> list[str]:
    frames, labels = (part[:, :, 12:48] for part in pictures())
    (folder / "validation/00000003").mkdir(parents=True)
    for time, (frame, ids) in enumerate(zip(frames, labels, strict=True)):
        Image.fromarray(frame).save(folder / f"validation/00000003/{time:06}.png")
        Image.fromarray(ids).save(folder / f"validation/00000003/{time:06}_mask.png")
    return ["--split", "validation"]


def as_ytvis(folder: Path) -> list[str]:
    frames, labels = pictures()
    place = folder / "valid/JPEGImages/boxes"
    place.mkdir(parents=True)
    files = [f"boxes/{time:05d}.jpg" for time in range(FRAMES)]
    for file, frame in zip(files, frames, strict=True):
        Image.fromarray(frame).save(folder / "valid/JPEGImages" / file)
    annotations = []
    for number in (1, 2):
        masks = [np.asfortranarray((ids == number).astype(np.uint8)) for ids in labels]
        encoded: list[Any] = [coco.encode(mask) for mask in masks]
        runs = [{**run, "counts": run["counts"].decode()} for run in encoded]
        annotations.append({"id": number, "video_id": 1, "segmentations": runs})
    video = {"id": 1, "file_names": files, "height": SIZE[0], "width": SIZE[1], "length": FRAMES}
    index = {"videos": [video], "annotations": annotations}
    (folder / "valid/instances.json").write_text(json.dumps(index))
    return ["--split", "test"]


@pytest.mark.parametrize("made", [as_davis, as_movi, as_ytvis])
def test_each_data_set_is_scored_both_ways(
    made: Callable[[Path], list[str]], cli: Cli, feature_model: Path, tmp_path: Path
) -> None:
    given = ("evaluate", "--model", feature_model, "--data", tmp_path / "data", *ON)
    given = (*given, *made(tmp_path / "data"))
    shorter = ("--frames", 6) if made is as_ytvis else ()
    name = "videosaur" if made is as_ytvis else "slotcontrast"
    code, out, err = cli("--json", *given, *shorter, "--protocol", name, "-o", "scores")
    assert code == 0, err
    summary = json.loads(out)
    if shorter:
        alone = json.loads(cli("--json", *given, *shorter)[1])
        assert alone["protocol"] is None
        assert summary["segmentation"] == alone["segmentation"]  # ours are what they were
    told = summary["protocol"]
    assert told["name"] == name
    frames = 6 if shorter else FRAMES
    assert told["scores"]["model"]["image_mbo"]["count"] == frames
    assert told["scores"]["model"]["video_mbo"]["count"] == 1
    assert told["method"]["masks"] == ([224, 224] if name == "videosaur" else [28, 28])
    assert (told["method"]["background"] == "unlabelled") == (made is not as_movi)
    assert set(told["scores"]) == set(summary["segmentation"])
    rows = list(csv.DictReader((tmp_path / "scores/clips.csv").read_text().splitlines()))
    [row] = [row for row in rows if row["row"] == "model"]
    video = told["scores"]["model"]["video_mbo"]["mean"]
    assert float(row[f"{name}_video_mbo"]) == pytest.approx(video)


@torch.no_grad()
def test_the_figures_are_those_of_squares_resized_and_labelled_here(
    cli: Cli, feature_model: Path, tmp_path: Path
) -> None:
    split = as_davis(tmp_path / "data")
    given = ("evaluate", "--model", feature_model, "--data", tmp_path / "data", *ON, *split)
    code, out, err = cli("--json", *given, "--protocol", "slotcontrast")
    assert code == 0, err
    found = {k: v["mean"] for k, v in json.loads(out)["protocol"]["scores"]["model"].items()}
    model = load_model(str(feature_model)).slot_model()[1].eval()
    frames, labels = [], []
    for time in range(FRAMES):
        picture = Image.open(tmp_path / f"data/JPEGImages/480p/boxes/{time:05d}.jpg")
        square = np.asarray(picture)[:, 12:48].astype(np.float32) / 255
        frames.append(cv2.resize(square, (28, 28), interpolation=cv2.INTER_CUBIC).clip(0, 1))
        ids = np.asarray(Image.open(tmp_path / f"data/Annotations/480p/boxes/{time:05d}.png"))
        centres = ((np.arange(28) + 0.5) * 36 / 28).astype(int)
        labels.append(ids[:, 12:48][centres[:, None], centres])
    track = model.encoder(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None] * 2 - 1)
    soft = F.interpolate(model.soft_masks(track)[0], (28, 28), mode="bilinear")
    predicted, truth = soft.argmax(1).numpy(), np.stack(labels)
    assert (truth == 255).any()

    def rand(one: np.ndarray, other: np.ndarray) -> float:
        front = (one > 0) & (one < 255)
        return adjusted_rand_score(one[front], other[front])

    def overlap(one: np.ndarray, other: np.ndarray) -> float:
        seen = one < 255
        best = [
            max(
                ((one == k) & (other == s))[seen].sum() / ((one == k) | (other == s))[seen].sum()
                for s in np.unique(other)
            )
            for k in (1, 2)
        ]
        return float(np.mean(best))

    each = list(zip(truth, predicted, strict=True))
    assert found == {
        "video_fg_ari": pytest.approx(rand(truth, predicted)),
        "video_mbo": pytest.approx(overlap(truth, predicted)),
        "image_fg_ari": pytest.approx(np.mean([rand(*pair) for pair in each])),
        "image_mbo": pytest.approx(np.mean([overlap(*pair) for pair in each])),
    }


def test_the_table_names_the_protocol_and_pictures_models_have_it_too(
    cli: Cli, tiny_model: Path
) -> None:
    asked = ("evaluate", "--model", tiny_model, "--data", "synth:A", "--clips", 1, "--frames", 2)
    code, out, err = cli(*asked, *ON, "--protocol", "slotcontrast")
    assert code == 0, err
    assert "By the protocol slotcontrast" in out
    assert "video FG-ARI  video mBO  image FG-ARI  image mBO" in out


def test_clips_too_short_for_the_protocol_have_no_figure(
    cli: Cli, feature_model: Path, tmp_path: Path
) -> None:
    split = as_ytvis(tmp_path / "data")
    given = ("evaluate", "--model", feature_model, "--data", tmp_path / "data", *ON, *split)
    code, out, err = cli("--json", *given, "--frames", 5, "--protocol", "videosaur")
    assert code == 0, err
    summary = json.loads(out)
    assert summary["protocol"]["scores"]["model"]["video_fg_ari"]["mean"] is None
    assert "as many videos as the protocol asks" in summary["undefined"]["video_fg_ari"]
    assert "video FG-ARI: undefined" in err


def test_results_have_no_protocol(cli: Cli, tmp_path: Path) -> None:
    given = ("evaluate", "--results", tmp_path, "--outlines", "o.json")
    code, _, err = cli(*given, "--protocol", "slotcontrast")
    assert (code, "scores models" in err) == (2, True)
