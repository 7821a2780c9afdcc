"""What a stopped run finds again: whole records, in order, and nothing that was cut off."""

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
    with Journal(path, key) as journal:
        for span in spans:
            journal.append(*rows(*span), chunk(*span))


def found(path, key="key"):
    """The spans that a journal gives back, each with its very numbers."""
    spans = []
    with Journal(path, key) as journal:
        for span in CHUNKS:
            again = journal.replay(chunk(*span))
            if again is None:
                break
            slots, attention = rows(*span)
            np.testing.assert_array_equal(again[0], slots.numpy())
            np.testing.assert_array_equal(again[1], attention.numpy())
            np.testing.assert_array_equal(again[2], chunk(*span).flags)
            np.testing.assert_array_equal(journal.last_slots(), slots[-1].numpy())
            spans.append(span)
        assert journal.frames == sum(end - start for start, end in spans)
        assert journal.replayed
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
        with Journal(tmp_path / name, "key") as journal:
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


def test_cut_off_anywhere_it_holds_the_whole_records_before(tmp_path):
    path = tmp_path / "journal"
    ends = []
    for count in range(len(CHUNKS) + 1):
        path.unlink(missing_ok=True)
        fill(path, CHUNKS[:count])
        ends.append(path.stat().st_size)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        whole = sum(size >= end for end in ends[1:])
        assert found(path) == CHUNKS[:whole], size
        # What was cut off is gone, so that the next record stands where it has to.
        assert path.stat().st_size == (ends[whole] if size >= ends[0] else ends[0]), size


def test_a_flipped_bit_ends_it_there(tmp_path):
    path = tmp_path / "journal"
    fill(path)
    content = path.read_bytes()
    head = content.index(b"\n") + 1
    for place in range(head, len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        assert found(path) in (CHUNKS[:0], CHUNKS[:1], CHUNKS[:2]), place


def test_a_record_of_other_frames_is_forgotten_with_all_behind_it(tmp_path):
    path = tmp_path / "journal"
    fill(path)
    with Journal(path, "key") as journal:
        assert journal.replay(chunk(0, 5)) is not None
        assert journal.replay(chunk(5, 8)) is None
        assert journal.replayed
        assert journal.frames == 5
    assert found(path) == CHUNKS[:1]


def test_it_has_to_be_replayed_before_it_is_continued(tmp_path):
    fill(tmp_path / "journal")
    with Journal(tmp_path / "journal", "key") as journal, pytest.raises(ValueError, match="replay"):
        journal.append(*rows(0, 5), chunk(0, 5))


@pytest.mark.parametrize(("tensor", "value"), [(0, torch.nan), (1, torch.inf), (0, -torch.inf)])
def test_the_frame_of_what_is_no_number_is_named_and_not_kept(tmp_path, tensor, value):
    path = tmp_path / "journal"
    fill(path, CHUNKS[:1])
    arrays = rows(5, 9)
    arrays[tensor][2].view(-1)[3] = value
    with Journal(path, "key") as journal:
        assert journal.replay(chunk(0, 5)) is not None
        with pytest.raises(NumericError, match="Frame 7: the"):
            journal.append(*arrays, chunk(5, 9))
    assert found(path) == CHUNKS[:1]


def test_changing_shapes_and_empty_clips_are_refused(tmp_path):
    with Journal(tmp_path / "journal", "key") as journal:
        with pytest.raises(DataError, match="no frames"):
            journal.finish(tmp_path / "clip", METADATA)
        slots, attention = rows(0, 5)
        journal.append(slots, attention, chunk(0, 5))
        for fewer in ((slots[:, :2], attention[:, :2]), (slots[:3], attention[:3])):
            with pytest.raises(DataError, match="A chunk of 5 frames"):
                journal.append(*fewer, chunk(0, 5))
