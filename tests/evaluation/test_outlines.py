import json

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from slotcli.errors import DataError, NoInputError
from slotcli.evaluation.outlines import read_outlines, thing_scores
from slotcli.types import OUTSIDE

HEIGHT, WIDTH = 20, 30
LEFT = [0, 0, 10, 0, 10, 20, 0, 20]
BAND = [0, 5, 30, 5, 30, 10, 0, 10]


def written(path, annotations, frames=(0, 7)):
    images = [
        {"id": t, "file_name": "clips/a.mp4", "frame": t, "height": HEIGHT, "width": WIDTH}
        for t in frames
    ]
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "hand"}],
    }
    path.write_text(json.dumps(document))
    return path


def outline(frame, category, polygon, **more):
    return {"image_id": frame, "category_id": category, "segmentation": [polygon], **more}


def scored(things, labels):
    return {score.thing: score for score in thing_scores(things, labels)}


def test_the_fit_is_the_jaccard_index_of_the_best_label_a_frame_and_of_one_for_all():
    rng = np.random.default_rng(3)
    things = {t: {"thing": rng.random((HEIGHT, WIDTH)) < 0.3} for t in (0, 7)}
    labels = {t: rng.integers(0, 5, (HEIGHT, WIDTH)).astype(np.uint8) for t in (0, 7)}
    fits = np.array(
        [
            [
                jaccard_score(things[t]["thing"].ravel(), (labels[t] == k).ravel())
                for k in (1, 2, 3, 4)
            ]
            for t in (0, 7)
        ]
    )
    score = scored(things, labels)["thing"]
    assert score.frame == pytest.approx(fits.max(1).mean())
    assert score.track == pytest.approx(fits.mean(0).max())
    assert score.area == pytest.approx(np.mean([things[t]["thing"].mean() for t in (0, 7)]))


def test_a_label_that_changes_between_frames_halves_the_track_alone():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:, :10] = True
    labels = {t: (t + 1) * mask.astype(np.uint8) for t in (0, 7)}
    score = scored({t: {"cup": mask} for t in labels}, labels)["cup"]
    assert (score.frames, score.frame, score.track) == (2, 1.0, 0.5)


@pytest.mark.parametrize("label", [0, OUTSIDE])
def test_a_thing_that_is_called_background_was_not_found(label):
    mask = np.ones((HEIGHT, WIDTH), bool)
    labels = np.full((HEIGHT, WIDTH), label, np.uint8)
    assert scored({0: {"cup": mask}}, {0: labels})["cup"].frame == 0


def test_a_polygon_holds_the_pixels_inside_it_and_later_ones_lie_in_front(tmp_path):
    path = written(tmp_path / "o.json", [outline(0, 1, LEFT), outline(0, 2, BAND)])
    things = read_outlines(path)["a.mp4"][0]
    left, band = np.zeros((2, HEIGHT, WIDTH), bool)
    left[:, :10] = True
    band[5:10] = True
    assert (things["hand"] == band).all()
    assert (things["cup"] == left & ~band).all()


def test_two_cups_are_two_things_by_their_track_ids_and_parts_of_one_are_joined(tmp_path):
    parts = [outline(0, 1, LEFT, track_id=1), outline(0, 1, BAND, track_id=2)]
    more = outline(0, 1, [20, 12, 30, 12, 30, 20, 20, 20], track_id=2)
    things = read_outlines(written(tmp_path / "o.json", [*parts, more]))["a.mp4"][0]
    assert sorted(things) == ["1", "2"]
    assert things["2"].sum() == 30 * 5 + 10 * 8


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d["images"][0].pop("frame"),
        lambda d: d["annotations"][0].update(image_id=99),
        lambda d: d["annotations"][0].update(segmentation=[[0, 0, 1]]),
        lambda d: d.update(annotations=[]),
        lambda d: d.update(images=3),
    ],
)
def test_what_is_no_outline_is_said(tmp_path, spoil):
    path = written(tmp_path / "o.json", [outline(0, 1, LEFT)])
    document = json.loads(path.read_text())
    spoil(document)
    path.write_text(json.dumps(document))
    with pytest.raises((DataError, NoInputError), match="outlines"):
        read_outlines(path)


def test_masks_of_another_size_or_without_the_frame_are_refused():
    mask = np.ones((HEIGHT, WIDTH), bool)
    with pytest.raises(DataError, match="30x20 pixels, masks on 10x20"):
        scored({0: {"cup": mask}}, {0: np.zeros((20, 10), np.uint8)})
    with pytest.raises(DataError, match="frame 3"):
        scored({3: {"cup": mask}}, {0: np.zeros((HEIGHT, WIDTH), np.uint8)})
