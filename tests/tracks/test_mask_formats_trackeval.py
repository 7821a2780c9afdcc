"""Mask files as TrackEval's loaders of three benchmarks take them: against themselves all is right.

TrackEval is not among the test extras, for it asks for an OpenCV that replaces ours; CI installs it
without what it asks for.
"""

import json
import shutil

import numpy as np
import pytest
from labelled_clips import CLIPS, written
from pycocotools import mask as rle

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

trackeval = pytest.importorskip("trackeval")
LABELS = CLIPS["moving"]
QUIET = {
    "USE_PARALLEL": False,
    "BREAK_ON_ERROR": True,
    "PRINT_RESULTS": False,
    "PRINT_CONFIG": False,
    "TIME_PROGRESS": False,
    "OUTPUT_SUMMARY": False,
    "OUTPUT_DETAILED": False,
    "OUTPUT_EMPTY_CLASSES": False,
    "PLOT_CURVES": False,
    "LOG_ON_ERROR": None,
}


def scores(dataset, category):
    metrics = [trackeval.metrics.HOTA({"PRINT_CONFIG": False})]
    results, messages = trackeval.Evaluator(QUIET).evaluate([dataset], metrics)
    (name,) = results
    assert messages[name] == {"ours": "Success"}
    of_clip = results[name]["ours"]["COMBINED_SEQ"][category]
    return float(of_clip["HOTA"]["HOTA"].mean()), of_clip["Count"]


def assert_perfect(dataset, category, labels):
    """All objects of all frames were found in the file, and found again."""
    hota, count = scores(dataset, category)
    assert hota == 1
    objects = [set(np.unique(frame).tolist()) - {0, 255} for frame in labels]
    assert count["Dets"] == count["GT_Dets"] == sum(map(len, objects)) > 0
    assert count["IDs"] == count["GT_IDs"] == len(set.union(*objects))


def kitti_mots(folder):
    config = {
        "GT_FOLDER": str(folder / "truth"),
        "TRACKERS_FOLDER": str(folder / "found"),
        "TRACKERS_TO_EVAL": ["ours"],
        "CLASSES_TO_EVAL": ["car"],  # its name for class 1
        "SEQ_INFO": {"clip": len(LABELS)},
        "GT_LOC_FORMAT": "{gt_folder}/{seq}.txt",
        "PRINT_CONFIG": False,
    }
    return trackeval.datasets.KittiMOTS(config)


def placed(source, *places):
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place)
        else:
            shutil.copy(source, place)


def test_mots(tmp_path):
    text = written(tmp_path / "out", "mots", LABELS)
    found = tmp_path / "found/ours/data/clip.txt"
    placed(text, tmp_path / "truth/clip.txt", found)
    assert_perfect(kitti_mots(tmp_path), "car", LABELS)
    # It does look: without the last object of the last frame it is not perfect.
    found.write_text("".join(text.read_text().splitlines(keepends=True)[:-1]))
    assert scores(kitti_mots(tmp_path), "car")[0] < 1


def test_davis(tmp_path):
    # Its loader of trackers knows no ignored pixels.
    labels = np.where(LABELS == 255, 0, LABELS)
    folder = written(tmp_path / "out", "png", labels)
    placed(folder, tmp_path / "truth/clip", tmp_path / "found/ours/data/clip")
    config = {
        "GT_FOLDER": str(tmp_path / "truth"),
        "TRACKERS_FOLDER": str(tmp_path / "found"),
        "PRINT_CONFIG": False,
    }
    assert_perfect(trackeval.datasets.DAVIS(config), "general", labels)


def test_youtube_vis(tmp_path):
    path = written(tmp_path / "out", "ytvis", LABELS, "clip.mp4")
    placed(path, tmp_path / "truth/youtube_vis_val/annotations.json")
    # It takes annotations as they are; results are a list, whose run lengths are letters.
    results = json.loads(path.read_bytes())["annotations"]
    for track in results:
        track["segmentations"] = [
            mask and rle.frPyObjects(mask, *LABELS.shape[1:]) for mask in track["segmentations"]
        ]
        for mask in filter(None, track["segmentations"]):
            mask["counts"] = mask["counts"].decode()
    found = tmp_path / "found/youtube_vis_val/ours/data/results.json"
    found.parent.mkdir(parents=True)
    found.write_text(json.dumps(results))
    config = {
        "GT_FOLDER": f"{tmp_path}/truth/",
        "TRACKERS_FOLDER": f"{tmp_path}/found/",
        "SPLIT_TO_EVAL": "val",
        "PRINT_CONFIG": False,
    }
    assert_perfect(trackeval.datasets.YouTubeVIS(config), "object", LABELS)
