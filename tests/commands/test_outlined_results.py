import json

import numpy as np
import pytest

from slotcli.tracks.masks import read_masks

ON = ["--device", "cpu", "--threads", "1"]


@pytest.fixture
def result(cli, tiny_model, tmp_path):
    """The result of a short clip with masks, and the size of its frames."""
    made = "data synth clips --tier A --clips 1 --frames 4 --size 40x48 --seed 3"
    assert cli(*made.split(), *ON)[0] == 0
    [clip] = (tmp_path / "clips").rglob("*.mp4")
    clip = clip.rename(tmp_path / "street.mp4")
    assert cli("decompose", clip, "--model", tiny_model, "-o", "out", "--no-overlay", *ON)[0] == 0
    return tmp_path / "out" / "street.mp4"


def outlines(path, mask, frames, name="street.mp4"):
    """A COCO file that outlines a mask, as run lengths, on some frames."""
    height, width = mask.shape
    runs = np.flatnonzero(np.diff(np.r_[2, mask.T.ravel(), 2]))
    counts = [0, *np.diff(runs)] if mask[0, 0] else list(np.diff(runs))
    segmentation = {"size": [height, width], "counts": [int(n) for n in counts]}
    document = {
        "images": [
            {"id": t, "file_name": name, "frame": t, "height": height, "width": width}
            for t in frames
        ],
        "annotations": [
            {"image_id": t, "category_id": 1, "segmentation": segmentation} for t in frames
        ],
        "categories": [{"id": 1, "name": "car"}],
    }
    path.write_text(json.dumps(document))
    return path


def test_outlines_of_a_mask_fit_that_mask(cli, result, tmp_path):
    labels = list(read_masks(result / "masks"))
    label = int(labels[2].max())
    assert label > 0
    path = outlines(tmp_path / "o.json", labels[2] == label, [2])
    code, out, err = cli("--json", "evaluate", "--results", result.parent, "--outlines", path)
    assert code == 0, err
    record = json.loads(out)
    assert [each["frame"] for each in record["things"]] == [1.0]
    assert record["means"]["model"]["track"] == 1.0
    assert {"grid", "k-means colour"} <= record["means"].keys()
    assert record["clips_without_result"] == []


def test_a_clip_without_a_result_is_said_and_one_alone_is_an_error(cli, result, tmp_path):
    mask = np.zeros((40, 48), bool)
    mask[:10] = True
    path = outlines(tmp_path / "o.json", mask, [0], name="other.mp4")
    code, _, err = cli("evaluate", "--results", result, "--outlines", path)
    assert (code, "Decompose other.mp4." in err) == (66, True), err


def test_a_frame_that_was_not_decomposed_is_said_with_its_clip(cli, result, tmp_path):
    mask = np.zeros((40, 48), bool)
    mask[:10] = True
    path = outlines(tmp_path / "o.json", mask, [0, 9])
    code, _, err = cli("evaluate", "--results", result, "--outlines", path)
    assert code == 65
    assert "street.mp4: frame 9 is outlined, but not in the result." in err


def test_results_need_outlines_and_a_model_needs_none(cli, result):
    for arguments in (["--results", result], ["--outlines", "o.json"], []):
        code, _, err = cli("evaluate", *arguments)
        assert (code, "Give --model, or --results and --outlines." in err) == (2, True)
