"""The notebook and the adapters in samples/, run as they stand."""

import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import slotcli

SAMPLES = Path(__file__).parents[1] / "samples"
NOTEBOOK = SAMPLES / "objects.ipynb"
# Other packages' own warnings are not about the adapters.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::(?!slotcli)")]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    clip = shutil.copy(SAMPLES / "tier-a.mp4", folder)
    options: dict[str, Any] = {"background": "none", "overlay": False, "max_frames": 6}
    return slotcli.decompose(clip, tiny_model, out=folder / "out", **options).path.parent


@pytest.fixture
def adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: Path) -> Any:
    """Runs an adapter in an empty folder, on a result, where its packages are installed."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *packages: str, arguments: tuple[str, ...] = ()) -> dict[str, Any]:
        for package in packages:
            pytest.importorskip(package)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", str(result), *arguments])
        return runpy.run_path(str(SAMPLES / "adapters" / f"{name}.py"), run_name="__main__")

    return run


def test_the_notebook_runs_and_shows_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(SAMPLES / "tier-a.mp4", tmp_path)
    monkeypatch.chdir(tmp_path)
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    names: dict[str, Any] = {}
    shown = []
    for cell in cells:
        if cell["cell_type"] == "code":
            *before, last = "".join(cell["source"]).split("\n")
            exec("\n".join(before), names)
            shown.append(eval(last, names))  # noqa: S307
            assert cell["outputs"] == []
    _, shapes, image, path, triple, files = shown
    assert shapes == ((128, 128), (128, 128, 3), (12, 16, 128), shapes[-1])
    assert image.size == (128, 128)
    assert len(path) == 12
    assert triple.size == (3 * 128, 128)
    clip, whole, without = np.split(np.asarray(triple, float), 3, axis=1)
    inside = names["result"].masks[6] == names["largest"]
    # The object is in the rendering, and not in the one without it.
    assert np.abs(whole - clip)[inside].mean() < np.abs(without - clip)[inside].mean()
    assert [file.exists() for file in files] == [True] * 3
    assert NOTEBOOK.stat().st_size < 8192


def test_pycocotools_reads_masks_and_images(adapter: Any, tmp_path: Path) -> None:
    names = adapter("coco_masks", "pycocotools")
    mask, image_id = names["mask"], names["largest"]["image_id"]
    expected = names["result"].masks[image_id - 1] == names["largest"]["track_id"]
    np.testing.assert_array_equal(mask, expected)
    with Image.open(tmp_path / "largest.png") as cut:
        assert not np.asarray(cut)[~expected].any()


def test_trackeval_finds_a_result_equal_to_itself(
    adapter: Any, tmp_path: Path, result: Path
) -> None:
    adapter("trackeval_scores", "trackeval", arguments=(str(result),))
    assert (tmp_path / "scores/hota.txt").read_text() == "1.000\n"


def test_supervision_draws_the_objects(adapter: Any, tmp_path: Path) -> None:
    names = adapter("supervision_detections", "supervision")
    found, labels = names["found"], names["labels"]
    assert {int(own) for own in found.tracker_id} == set(np.unique(labels).tolist())
    x0, y0, x1, y1 = found.xyxy[0].astype(int)
    rows, columns = np.nonzero(labels == found.tracker_id[0])
    assert (x0, y0, x1, y1) == (columns.min(), rows.min(), columns.max(), rows.max())
    assert len(list((tmp_path / "drawn").iterdir())) == 6


def test_napari_shows_a_frame_without_the_others(adapter: Any, monkeypatch) -> None:
    names = adapter("napari_labels", "napari", arguments=("--hidden",))
    layer = names["viewer"].layers["objects"]
    computed: list[int] = []
    frame = type(names["result"].masks).frame
    monkeypatch.setattr(
        type(names["result"].masks), "frame", lambda self, t: computed.append(t) or frame(self, t)
    )
    names["viewer"].dims.set_current_step(0, 4)
    np.testing.assert_array_equal(np.asarray(layer._slice.image.raw), names["result"].masks[4])
    assert set(computed) == {4}


def test_fiftyone_imports_the_export(tmp_path: Path, result: Path) -> None:
    """By its importer alone: its data sets need a database."""
    coco = pytest.importorskip("fiftyone.utils.coco")
    slotcli.load(result).export("coco", tmp_path, frames=True)
    importer = coco.COCODetectionDatasetImporter(
        data_path=str(tmp_path),
        labels_path=str(tmp_path / "coco.json"),
        label_types="segmentations",
    )
    masks = slotcli.load(result).masks
    with importer:
        samples = list(importer)
    assert len(samples) == len(masks)
    for (path, _, label), labels in zip(samples, masks, strict=True):
        assert Path(path).exists()
        assert len(label.detections) == len(np.unique(labels))


def test_datumaro_imports_every_mask(adapter: Any, result: Path) -> None:
    names = adapter("datumaro_dataset", "datumaro")
    masks = slotcli.load(result).masks
    items = {int(Path(item.id).name): item for item in names["dataset"]}
    assert sorted(items) == list(range(len(masks)))
    for t, item in items.items():
        assert item.media.data.shape == (*masks[t].shape, 3)
        drawn = np.zeros_like(masks[t])
        for annotation in item.annotations:
            if annotation.type.name == "mask":
                drawn[annotation.image > 0] = annotation.attributes["track_id"]
        np.testing.assert_array_equal(drawn, masks[t])


def test_every_adapter_is_short_and_in_the_table() -> None:
    table = (SAMPLES / "README.md").read_text()
    for path in (SAMPLES / "adapters").glob("*.py"):
        assert f"`{path.name}`" in table
        assert len(path.read_text().splitlines()) < 30, path
