import csv
import json
from itertools import pairwise

import numpy as np
import pytest

from slotcli.errors import OutputError
from slotcli.tracks.statistics import (
    TracksCsv,
    TrackStatistics,
    read_tracks_json,
    write_tracks_json,
)

NUM_SLOTS = 5
BACKGROUND = (2,)
IDS = [1, 2, 0, 4, 5]
SURE = np.full(256, 0.5)


def clip() -> tuple[np.ndarray, np.ndarray]:
    """Blocky labels with noise, an absent slot, a slot that comes late, an outside margin."""
    generator = np.random.default_rng(0)
    blocks = generator.integers(0, 5, size=(4, 4, 5), dtype=np.uint8).repeat(5, 1).repeat(6, 2)
    noise = generator.random(blocks.shape) < 0.1
    labels = np.where(noise, 1, blocks).astype(np.uint8)
    labels[labels == 3] = 0  # label 3 belongs to slot 2, the background, which has label 0
    labels[labels == 4] = 5
    labels[:2][labels[:2] == 5] = 1
    labels[:, :, -3:] = 255
    frames = generator.integers(0, 256, size=(*labels.shape, 3), dtype=np.uint8)
    return labels, frames


def test_rows_and_summary_against_a_naive_loop():
    labels, frames = clip()
    statistics = TrackStatistics(NUM_SLOTS, BACKGROUND)
    seen: dict[int, list] = {own: [] for own in IDS}
    for index in range(len(labels)):
        sure = np.linspace(0, 1, 256) ** (index + 1)
        rows = statistics.add(labels[index], frames[index], 0.5 * index, 10 + index, sure)
        assert [row.id for row in rows] == IDS
        for row in rows:
            assert (row.frame_index, row.time) == (10 + index, 0.5 * index)
            pixels = [
                (x, y)
                for y in range(labels.shape[1])
                for x in range(labels.shape[2])
                if labels[index, y, x] == row.id
            ]
            assert row.area == len(pixels)
            assert row.visible_fraction == pytest.approx(len(pixels) / labels[index].size)
            if not pixels:
                assert (row.centroid_x, row.x0, row.y1, row.confidence) == (None,) * 4
                continue
            xs, ys = np.array(pixels).T
            assert (row.centroid_x, row.centroid_y) == pytest.approx((xs.mean(), ys.mean()))
            assert (row.x0, row.y0, row.x1, row.y1) == (
                xs.min(),
                ys.min(),
                xs.max() + 1,
                ys.max() + 1,
            )
            assert row.confidence == sure[row.id]
            seen[row.id].append((index, (xs.mean(), ys.mean()), len(pixels)))
    for summary in statistics.summary():
        history = seen[summary.id]
        assert summary.frames_present == len(history)
        assert summary.share_present == len(history) / len(labels)
        assert summary.is_background == (summary.id == 0)
        if not history:
            assert (summary.first_time, summary.mean_area, summary.mean_colour) == (None, 0, None)
            continue
        assert (summary.first_time, summary.last_time) == (
            0.5 * history[0][0],
            0.5 * history[-1][0],
        )
        assert summary.mean_area == pytest.approx(np.mean([area for _, _, area in history]))
        steps = [
            np.hypot(*np.subtract(b[1], a[1])) for a, b in pairwise(history) if b[0] == a[0] + 1
        ]
        assert summary.path_length == pytest.approx(sum(steps))
        sure = [(summary.id / 255) ** (index + 1) for index, _, _ in history]
        assert summary.mean_confidence == pytest.approx(np.mean(sure), abs=1e-6)
        colour = frames[labels == summary.id].mean(axis=0)
        assert summary.mean_colour == pytest.approx(colour, abs=0.5)
    assert [len(history) for history in seen.values()] == [4, 4, 4, 0, 2]


def test_a_gap_adds_nothing_to_the_path():
    statistics = TrackStatistics(2, ())
    for position in (0, 2, None, 20):
        labels = np.ones((4, 30), np.uint8)
        if position is not None:
            labels[1, position] = 2
        statistics.add(labels, np.zeros((4, 30, 3), np.uint8), 0.0, 0, SURE)
    assert statistics.summary()[1].path_length == 2


def test_csv_and_json(tmp_path):
    labels, frames = clip()
    statistics = TrackStatistics(NUM_SLOTS, BACKGROUND)
    with TracksCsv(tmp_path / "tracks.csv") as table:
        for index in range(len(labels)):
            table.write(statistics.add(labels[index], frames[index], index / 30, index, SURE))
    with (tmp_path / "tracks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(labels) * NUM_SLOTS
    assert rows[5]["time"] == "0.033333"
    assert rows[5]["area"] == str((labels[1] == 1).sum())
    assert rows[8]["centroid_x"] == rows[8]["x0"] == ""
    assert b"\r" not in (tmp_path / "tracks.csv").read_bytes()

    write_tracks_json(tmp_path / "tracks.json", statistics.summary(), {"num_frames": 4})
    tracks = json.loads((tmp_path / "tracks.json").read_text())
    assert tracks["schema"] == "slotcli.tracks/2"
    assert tracks["num_frames"] == 4
    assert [slot["id"] for slot in tracks["slots"]] == IDS
    assert tracks["slots"][3]["mean_colour"] is None


def test_tracks_of_the_first_schema_get_the_ids_of_their_masks(tmp_path):
    labels, frames = clip()
    statistics = TrackStatistics(NUM_SLOTS, BACKGROUND)
    statistics.add(labels[0], frames[0], 0.0, 0, SURE)
    write_tracks_json(tmp_path / "new.json", statistics.summary(), {})
    told = json.loads((tmp_path / "new.json").read_text())
    for slot, own in enumerate(told["slots"]):
        own["slot"] = slot
        del own["id"]
    (tmp_path / "old.json").write_text(json.dumps({**told, "schema": "slotcli.tracks/1"}))
    assert read_tracks_json(tmp_path / "old.json") == statistics.summary()


def test_a_full_disk_is_an_output_error(tmp_path):
    (tmp_path / "tracks.csv").symlink_to("/dev/full")
    statistics = TrackStatistics(1, ())
    rows = statistics.add(np.ones((2, 2), np.uint8), np.zeros((2, 2, 3), np.uint8), 0.0, 0, SURE)
    with (
        pytest.raises(OutputError, match="disk is full"),
        TracksCsv(tmp_path / "tracks.csv") as table,
    ):
        table.write(rows)


def test_several_slots_of_the_background_are_one_row():
    statistics = TrackStatistics(4, (1, 3))
    labels = np.array([[0, 0, 3], [1, 0, 0]], np.uint8)
    rows = statistics.add(labels, np.zeros((2, 3, 3), np.uint8), 0.0, 0, SURE)
    assert [(row.id, row.area) for row in rows] == [(1, 1), (0, 4), (3, 1)]
    assert [own.is_background for own in statistics.summary()] == [False, True, False]
