import json
from pathlib import Path

import numpy as np
import pytest

from slotcli.errors import NoInputError, UsageError
from slotcli.evaluation.probe_labels import LabelColumn, LabelRow, Labels
from slotcli.files.layout import RESULT, SLOT_FILE, TRACKS_CSV
from slotcli.results.find import find_results
from slotcli.results.probe_features import ProbeFeatures, RowFeatures, probe_features
from slotcli.results.probe_targets import probe_targets
from slotcli.tracks.slot_file import SlotFile, write_slot_file
from slotcli.tracks.statistics import TracksCsv, TrackStatistics, object_ids

FRAMES, SLOTS, DIM, SIZE = 4, 5, 3, (20, 40)
BACKGROUND = [4]


def labels_of(order: list[int]) -> np.ndarray:
    """Masks with IDs slot + 1: slot 0 leaves after two frames, slot 3 has no pixel."""
    labels = np.zeros((FRAMES, *SIZE), np.uint8)
    labels[:2, 0:4, 0:10] = order.index(0) + 1
    labels[:, 10:14, 10:20] = order.index(1) + 1
    labels[1:, 0:2, 30:40] = order.index(2) + 1
    return labels


def write(
    folder: Path,
    *,
    order: list[int] | None = None,
    weights: str = "ab",
    dim: int = DIM,
    index: list[int] | None = None,
    source: str = "",
) -> Path:
    """A result in whose slot file slot k is the slot `order[k]` of the first one."""
    order = order or list(range(SLOTS))
    folder.mkdir(parents=True)
    slots = np.random.default_rng(0).normal(size=(FRAMES, SLOTS, dim)).astype(np.float32)
    background = [order.index(own) for own in BACKGROUND]
    model = {"name": "made-up", "weights_sha256": weights}
    time = np.arange(FRAMES, dtype=np.int64)
    stored = SlotFile(
        slots=slots[:, order],
        attention=np.full((FRAMES, SLOTS, 2, 2), 1 / SLOTS, np.float16),
        pts=time,
        duration=np.ones_like(time),
        frame_index=time if index is None else np.array(index),
        flags=np.zeros(FRAMES, np.uint8),
        metadata={
            "model": model,
            "source": {},
            "transform": {
                "source_size": list(SIZE),
                "crop": [0, 0, *SIZE],
                "model_size": list(SIZE),
            },
            "sampling": {},
            "run": {},
            "statistics": {"background": background},
        },
    )
    write_slot_file(folder / SLOT_FILE, stored)
    facts = {"source": {"path": source or f"/videos/{folder.name}"}, "model": model}
    (folder / RESULT).write_text(json.dumps(facts))
    statistics = TrackStatistics(SLOTS, background)
    with TracksCsv(folder / TRACKS_CSV) as tracks:
        for number, labels in zip(stored.frame_index.tolist(), labels_of(order), strict=True):
            frame = np.zeros((*SIZE, 3), np.uint8)
            tracks.write(statistics.add(labels, frame, 0.0, number, np.ones(256)))
    assert 0 in object_ids(SLOTS, background)
    return folder


def features(folder: Path, *rows: tuple[str, int | None, int | None]) -> ProbeFeatures:
    named = [LabelRow(number, *row) for number, row in enumerate(rows, start=2)]
    return probe_features(find_results([folder]), named)


def slots_of(folder: Path) -> np.ndarray:
    from slotcli.tracks.slot_file import read_slot_file

    return read_slot_file(folder / SLOT_FILE).slots.astype(np.float64)


def test_an_object_is_its_slot_and_its_mask_s_area_and_centroid(tmp_path) -> None:
    slots = slots_of(write(tmp_path / "a.mp4"))
    found = features(tmp_path, ("a.mp4", 1, 2), ("a.mp4", None, 1), ("a", 0, 0))
    in_frame, over_clip, background = (found.of_rows[row] for row in range(3))
    assert in_frame.slots == pytest.approx(slots[1, 1])
    assert in_frame.trivial == pytest.approx([40, 0.05, 14.5, 11.5, 14.5 / 40, 11.5 / 20])
    # It has pixels in the first two of four frames alone.
    assert over_clip.slots == pytest.approx(slots[:2, 0].mean(0))
    assert over_clip.trivial[:2] == pytest.approx([40, 0.05])
    assert background.slots == pytest.approx(slots[0, 4])
    assert found.model == {
        "name": "made-up",
        "weights_sha256": "ab",
        "slot_dim": DIM,
        "num_slots": [SLOTS],
    }


def test_a_scene_is_pooled_over_the_slots_that_have_pixels(tmp_path) -> None:
    slots = slots_of(write(tmp_path / "a.mp4"))
    found = features(tmp_path, ("a.mp4", 0, None), ("a.mp4", None, None))
    first = slots[0, [0, 1, 4]]
    assert found.of_rows[0].slots == pytest.approx(np.r_[first.mean(0), first.max(0)])
    assert found.of_rows[0].trivial == pytest.approx([2, 2, 80 / 800])
    means = np.stack(
        [slots[:2, 0].mean(0), slots[:, 1].mean(0), slots[1:, 2].mean(0), slots[:, 4].mean(0)]
    )
    assert found.of_rows[1].slots == pytest.approx(np.r_[means.mean(0), means.max(0)])
    assert found.of_rows[1].trivial == pytest.approx([3, (2 + 4 + 3) / 4, 300 / 3200])


def test_the_order_of_slots_does_not_matter(tmp_path) -> None:
    order = [3, 0, 4, 2, 1]
    write(tmp_path / "one/a.mp4")
    write(tmp_path / "other/a.mp4", order=order)
    for row, turned in [
        (("a.mp4", 2, None), ("a.mp4", 2, None)),
        (("a.mp4", None, None), ("a.mp4", None, None)),
        (("a.mp4", 2, 2), ("a.mp4", 2, order.index(1) + 1)),
    ]:
        [first] = features(tmp_path / "one", row).of_rows.values()
        [second] = features(tmp_path / "other", turned).of_rows.values()
        assert first.slots == pytest.approx(second.slots, abs=1e-12)
        assert first.trivial == pytest.approx(second.trivial, abs=1e-12)


def test_frames_are_those_of_the_source(tmp_path) -> None:
    slots = slots_of(write(tmp_path / "a.mp4", index=[10, 12, 14, 16]))
    found = features(tmp_path, ("a.mp4", 14, 2), ("a.mp4", 2, 2))
    assert found.of_rows[0].slots == pytest.approx(slots[2, 1])
    assert found.left_out == {1: "a.mp4: no frame 2"}


def test_rows_that_fit_nothing_have_a_reason(tmp_path) -> None:
    write(tmp_path / "a.mp4")
    broken = write(tmp_path / "b.mp4")
    (broken / SLOT_FILE).write_bytes(b"\0" * 99)
    found = features(
        tmp_path,
        ("a.mp4", 0, 2),
        ("z.mp4", 0, 2),
        ("a.mp4", 0, 9),
        ("a.mp4", 3, 1),
        ("a.mp4", None, 4),
        ("b.mp4", 0, 2),
    )
    assert list(found.of_rows) == [0]
    reasons = [found.left_out[row] for row in range(1, 6)]
    assert reasons[:4] == [
        "z.mp4: no such result",
        "a.mp4: no object 9",
        "a.mp4: object 1 has no pixel of the frame",
        "a.mp4: object 4 has no pixel of any frame",
    ]
    assert "damaged" in reasons[4]
    with pytest.raises(NoInputError, match=r"No row .* fits a result: z\.mp4: no such result"):
        features(tmp_path, ("z.mp4", 0, 2))


def test_a_name_may_be_a_clip_s_or_have_folders_but_fits_one_result(tmp_path) -> None:
    write(tmp_path / "x/a.mp4")
    write(tmp_path / "y/a.mp4", source="/videos/street.mov")
    rows = ("x/a.mp4", 0, 2), ("y/a", 0, 2), ("street", 0, 2), ("videos/street.mov", 1, 2)
    assert [own.clip for own in features(tmp_path, *rows).of_rows.values()] == [0, 1, 1, 1]
    with pytest.raises(UsageError, match=r"a\.mp4 in the labels fits several results"):
        features(tmp_path, ("a.mp4", 0, 2))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"weights": "cd"}, r"b\.mp4.* was made by made-up \(cd\), others by made-up \(ab\)"),
        ({"dim": 7}, r"has slots of 7 numbers, others have 3"),
    ],
)
def test_results_of_two_models_are_refused(tmp_path, other, said) -> None:
    write(tmp_path / "a.mp4")
    write(tmp_path / "b.mp4", **other)
    with pytest.raises(UsageError, match=said):
        features(tmp_path, ("a.mp4", 0, 2), ("b.mp4", 0, 2))
    if "weights" in other:  # also where the other model's result has no label
        with pytest.raises(UsageError, match=said):
            features(tmp_path, ("a.mp4", 0, 2))


def test_levels_and_missing_cells_are_divided_into_targets() -> None:
    rows = [LabelRow(2, "a", 0, 1), LabelRow(3, "a", 0, None), LabelRow(4, "b", 0, 1)]
    rows += [LabelRow(5, "c", 0, 1)]
    values = np.array([1.0, 2.0, np.nan, 4.0])
    column = LabelColumn("x", values, None, "", False)
    one = np.ones(2)
    features = ProbeFeatures(
        {}, {0: RowFeatures(0, one, one), 1: RowFeatures(0, one, one)}, {3: "c: no such result"}
    )
    objects, scenes = probe_targets(Labels(rows, [column]), features)
    assert (objects.level, objects.missing, objects.clips) == ("object in a frame", 1, 1)
    assert objects.labels == rows[:1]
    assert objects.rows is not None
    assert objects.rows.trivial_name == "area and centroid"
    assert (scenes.level, scenes.missing) == ("scene in a frame", 0)
    assert scenes.rows is not None
    assert scenes.rows.target.tolist() == [2.0]
