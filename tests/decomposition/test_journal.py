"""What a stopped run finds again: whole chunks, in order, and nothing that was cut off."""

import numpy as np
import pytest
import torch

from slotcli.decomposition.journal import Journal
from slotcli.errors import DataError, NumericError
from slotcli.tracks.slot_file import read_slot_file
from slotcli.types import FrameChunk

METADATA = {
    "model": {"name": "tiny"},
    "source": {"name": "a.mp4"},
    "transform": {"source_size": [20, 30], "crop": [0, 5, 20, 20], "model_size": [16, 16]},
    "sampling": {},
    "run": {},
    "statistics": {},
}
CHUNKS = [(0, 5), (5, 9), (9, 10)]


def chunk(start, end):
    count = end - start
    return FrameChunk(
        frames=np.zeros((count, 2, 2, 3), np.uint8),
        pts=np.arange(start, end) * 512,
        duration=np.full(count, 512),
        frame_index=np.arange(start, end),
        flags=np.full(count, start % 2, np.uint8),
    )


def rows(start, end):
    rng = np.random.default_rng(start)
    slots = torch.from_numpy(rng.normal(size=(end - start, 3, 4)).astype(np.float32))
    attention = torch.from_numpy(rng.normal(size=(end - start, 3, 2, 5))).softmax(1).half()
    return slots, attention


def fill(path, spans=CHUNKS, key="key"):
    journal = Journal(path, key)
    for span in spans:
        journal.append(*rows(*span), chunk(*span))


def found(path, key="key"):
    """The spans that a journal gives back, each with its very numbers."""
    spans, journal = [], Journal(path, key)
    for span in CHUNKS:
        again = journal.replay(chunk(*span))
        if again is None:
            break
        slots, attention = rows(*span)
        np.testing.assert_array_equal(again[0], slots.numpy())
        np.testing.assert_array_equal(again[1], attention.numpy())
        np.testing.assert_array_equal(again[2], chunk(*span).flags)
        spans.append(span)
    assert journal.frames == sum(end - start for start, end in spans)
    assert len(list(path.iterdir())) == len(spans)
    return spans


def test_all_that_was_appended_is_given_back_to_the_same_key(tmp_path):
    path = tmp_path / "journal"
    fill(path)
    assert found(path) == CHUNKS
    assert found(path) == CHUNKS
    assert found(path, "another key") == []
    assert found(path) == []


def test_a_continued_journal_gives_the_file_of_an_undisturbed_one(tmp_path):
    fill(tmp_path / "a", CHUNKS[:2])
    for name, known in (("a", CHUNKS[:2]), ("b", [])):
        journal = Journal(tmp_path / name, "key")
        for span in CHUNKS:
            if journal.replay(chunk(*span)) is None:
                journal.append(*rows(*span), chunk(*span))
            else:
                assert span in known
        journal.finish(tmp_path / f"{name}.slots", METADATA)
    assert (tmp_path / "a.slots").read_bytes() == (tmp_path / "b.slots").read_bytes()
    whole = read_slot_file(tmp_path / "a.slots")
    np.testing.assert_array_equal(whole.slots, torch.cat([rows(*s)[0] for s in CHUNKS]).numpy())
    np.testing.assert_array_equal(whole.frame_index, np.arange(10))


@pytest.mark.parametrize("damaged", range(3))
def test_a_file_cut_off_or_with_a_flipped_bit_ends_it_there(tmp_path, damaged):
    path = tmp_path / "journal"
    for place in range(damaged, 2000, 61):
        fill(path)
        file = sorted(path.iterdir())[damaged]
        content = bytearray(file.read_bytes())
        content[place % len(content)] ^= 1 << (place % 8)
        file.write_bytes(content if place % 2 else content[: place % len(content)])
        assert found(path) == CHUNKS[:damaged], place


def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    path = tmp_path / "journal"
    fill(path, CHUNKS[:2])
    (path / "00000002.part").write_bytes(b"begun")
    assert found(path) == CHUNKS[:2]


def test_a_journal_of_an_earlier_version_is_begun_anew_and_said(tmp_path):
    (tmp_path / "journal").write_bytes(b'{"key": "key"}\nSLOT')
    (remark,) = Journal(tmp_path / "journal", "key").remarks
    assert "another layout: frames from 0 on" in remark
    fill(tmp_path / "journal")
    assert found(tmp_path / "journal") == CHUNKS


@pytest.mark.parametrize(
    ("key", "damage", "remark"),
    [
        ("key", b"", "left a damaged file (00000001): frames from 5 on"),
        ("another", None, "had other weights or options"),
        ("key", None, None),
    ],
)
def test_dropped_work_is_said(tmp_path, key, damage, remark):
    path = tmp_path / "journal"
    fill(path, CHUNKS[:2])
    if damage is not None:
        sorted(path.iterdir())[1].write_bytes(damage)
    journal = Journal(path, key)
    for span in CHUNKS:
        if journal.replay(chunk(*span)) is None:
            journal.append(*rows(*span), chunk(*span))
    assert len(journal.remarks) == (remark is not None)
    assert all(remark in said for said in journal.remarks)


def test_a_chunk_of_other_frames_is_forgotten_with_all_behind_it(tmp_path):
    path = tmp_path / "journal"
    fill(path)
    journal = Journal(path, "key")
    assert journal.replay(chunk(0, 5)) is not None
    assert journal.replay(chunk(5, 8)) is None
    assert "read other frames: frames from 5 on" in journal.remarks[0]
    assert journal.frames == 5
    assert found(path) == CHUNKS[:1]


def test_what_was_not_replayed_is_dropped_where_it_is_continued(tmp_path):
    fill(tmp_path / "journal")
    Journal(tmp_path / "journal", "key").append(*rows(0, 5), chunk(0, 5))
    assert found(tmp_path / "journal") == CHUNKS[:1]


@pytest.mark.parametrize(("tensor", "value"), [(0, torch.nan), (1, torch.inf), (0, -torch.inf)])
def test_the_frame_of_what_is_no_number_is_named_and_not_kept(tmp_path, tensor, value):
    path = tmp_path / "journal"
    fill(path, CHUNKS[:1])
    arrays = rows(5, 9)
    arrays[tensor][2].view(-1)[3] = value
    journal = Journal(path, "key")
    assert journal.replay(chunk(0, 5)) is not None
    with pytest.raises(NumericError, match="Frame 7: the"):
        journal.append(*arrays, chunk(5, 9))
    assert found(path) == CHUNKS[:1]


def test_changing_shapes_and_empty_clips_are_refused(tmp_path):
    journal = Journal(tmp_path / "journal", "key")
    with pytest.raises(DataError, match="no frames"):
        journal.finish(tmp_path / "clip", METADATA)
    slots, attention = rows(0, 5)
    journal.append(slots, attention, chunk(0, 5))
    for fewer in ((slots[:, :2], attention[:, :2]), (slots[:3], attention[:3])):
        with pytest.raises(DataError, match="A chunk of 5 frames"):
            journal.append(*fewer, chunk(0, 5))
