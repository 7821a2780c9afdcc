from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from pages import SIZE, scene, view

from slotcli.report import clip_view
from slotcli.report.clip_data import events
from slotcli.report.clip_view import ClipViewRecorder
from slotcli.report.numbers import NumberPlaces, draw_numbers
from slotcli.report.switches import Switch, SwitchFinder
from slotcli.types import FLAG_CORRUPT

IDS = [0, 1, 2, 3]


def test_areas_and_places(tmp_path):
    found = view(tmp_path)
    for index in (0, 15, 29):
        frame, labels = found.frames[index], scene(index)[1]
        for place, label in enumerate(IDS):
            y, x = np.nonzero(labels == label)
            assert frame.area[place] == pytest.approx(len(x) / labels.size)
            if len(x):
                centre = [(x.mean() + 0.5) / SIZE[1], (y.mean() + 0.5) / SIZE[0]]
                np.testing.assert_allclose(frame.centre[place], centre, atol=1e-6)
            else:
                assert np.isnan(frame.centre[place]).all()
    assert sorted(found.thumbnails) == [1, 2]
    thumbnail = cv2.imdecode(np.frombuffer(found.thumbnails[1], np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(thumbnail[56, 56], (30, 20, 200), atol=12)


def test_long_clips_are_thinned_and_every_shown_frame_is_in_the_video(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_view, "MAX_FRAMES", 8)
    path = tmp_path / "clip.mp4"
    with ClipViewRecorder(path, SIZE, None) as recorder:
        for index in range(30):
            frame, labels = np.full((*SIZE, 3), 8 * index, np.uint8), np.zeros(SIZE, np.uint8)
            recorder.add(frame, labels, [0], float(index), FLAG_CORRUPT * (index in (9, 10, 29)))
        found = recorder.finish([0])
    assert [frame.index for frame in found.frames] == [0, 4, 8, 12, 16, 20, 24, 28]
    with av.open(path) as container:
        pictures = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
    assert len(pictures) < 30
    for frame in found.frames:
        np.testing.assert_allclose(pictures[frame.picture], 8 * frame.index, atol=4)
    assert found.flags == [(9, 10, FLAG_CORRUPT), (29, 29, FLAG_CORRUPT)]
    assert [(event["at"], event["frame"], event["last"]) for event in events(found)] == [
        (2, 9, 10),
        (7, 29, 29),
    ]


def test_labels_that_hardly_compress_are_thinned_too(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_view, "MAX_BYTES", 20 * SIZE[0] * SIZE[1])
    rng = np.random.default_rng(0)
    ids = list(range(200))
    with ClipViewRecorder(tmp_path / "clip.mp4", SIZE, None) as recorder:
        for index in range(101):
            labels = rng.integers(0, 200, SIZE, np.uint8)
            recorder.add(np.zeros((*SIZE, 3), np.uint8), labels, ids, float(index), 0)
        found = recorder.finish(ids)
    indices = [frame.index for frame in found.frames]
    (stride,) = set(np.diff(indices))
    assert stride == 8
    assert indices == list(range(0, 101, 8))
    assert sum(len(frame.labels) for frame in found.frames) <= clip_view.MAX_BYTES


@pytest.mark.parametrize(
    ("rate", "played"), [(None, 25), (Fraction(1, 60), 1), (Fraction(10**6), 120)]
)
def test_rates_that_browsers_play(tmp_path, rate, played):
    with ClipViewRecorder(tmp_path / "clip.mp4", SIZE, rate) as recorder:
        recorder.add(*scene(0), ids=IDS, time=0.0, flags=0)
        assert recorder.finish(IDS).rate == played


def test_identities_that_switch_are_noticed_and_motion_and_cuts_are_not():
    frame, labels = scene(20)
    swapped = np.array([0, 2, 1], np.uint8)[labels]
    finder = SwitchFinder()
    for own in (labels, labels, swapped, swapped):
        finder.add(frame, own)
    assert finder.found == [Switch(2, 2, 1), Switch(2, 1, 2)]
    moving = SwitchFinder()
    for index in range(30):
        moving.add(*scene(index))
    assert moving.found == []
    cut = SwitchFinder()
    cut.add(frame, labels)
    cut.add(255 - frame, swapped)
    assert cut.found == []


def test_numbers_stand_inside_of_their_objects_and_stay():
    places = NumberPlaces()
    labels = np.zeros((90, 160), np.uint8)
    labels[10:80, 10:150] = 1
    labels[20:70, 40:140] = 2  # object 1 is a frame around it: its centroid is not its own
    first = places.next(labels)
    for label, (x, y) in first.items():
        assert labels[int(y * 90), int(x * 160)] == label
    labels[30:40, 40:45] = 1
    assert places.next(labels) == first
    labels[labels == 2] = 0
    assert set(places.next(labels)) == {1}


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.0, 0.0), (1.0, 1.0)])
def test_a_number_is_drawn_within_the_frame(place):
    frame = np.full((360, 640, 3), 90, np.uint8)
    draw_numbers(frame, {123: place})
    rows, columns = np.nonzero((frame != 90).any(-1))
    assert rows.max() - rows.min() < 20
    assert columns.max() - columns.min() < 50
    assert frame.max() > 230
    small = np.full((40, 60, 3), 90, np.uint8)
    draw_numbers(small, {1: place})
    assert (small == 90).all()
