import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from slotcli.decomposition.journal import Journal
from slotcli.errors import CannotCreateError, DataError, NoInputError
from slotcli.tracks.slot_file import (
    DTYPES,
    METADATA_KEY,
    OPTIONAL,
    SECTIONS,
    UNEDITED,
    SlotFile,
    read_slot_file,
    write_slot_file,
)
from slotcli.types import FrameChunk

TIMING = ("pts", "duration", "frame_index", "flags")
METADATA = {
    "model": {"name": "tiny", "weights": "00ff", "spec": {"num_slots": 3}},
    "source": {"name": 'a \udcff \u20ac "b".mp4', "time_base": [1, 90000]},
    "transform": {"source_size": [20, 30], "crop": [0, 5, 20, 20], "model_size": [16, 16]},
    "sampling": {"step": 1},
    "run": {"seed": 0, "precision": "fp32"},
    "statistics": {"share": 0.1 + 0.2},
}


def example(num_frames: int = 7) -> SlotFile:
    generator = np.random.default_rng(1)
    logits = torch.from_numpy(generator.normal(size=(num_frames, 3, 4, 5)))
    return SlotFile(
        slots=generator.normal(size=(num_frames, 3, 6)).astype(np.float32),
        attention=logits.softmax(dim=1).half().numpy(),
        pts=3003 * np.arange(num_frames) - 3003,
        duration=np.full(num_frames, 3003),
        frame_index=np.arange(num_frames),
        flags=(np.arange(num_frames) == 2).astype(np.uint8),
        metadata=METADATA,
    )


def chunk_of(slot_file: SlotFile, rows: slice) -> FrameChunk:
    timing = {name: getattr(slot_file, name)[rows] for name in TIMING}
    return FrameChunk(frames=np.zeros((len(timing["pts"]), 1, 1, 3), np.uint8), **timing)


def write_in_chunks(path: Path, slot_file: SlotFile, chunk: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    journal = Journal(path.with_suffix(".journal"), "key")
    for start in range(0, len(slot_file.pts), chunk):
        rows = slice(start, start + chunk)
        journal.append(
            torch.from_numpy(slot_file.slots[rows]),
            torch.from_numpy(slot_file.attention[rows]),
            chunk_of(slot_file, rows),
            None if slot_file.appearance is None else torch.from_numpy(slot_file.appearance[rows]),
        )
    journal.finish(path, slot_file.metadata)


def with_appearance(slot_file: SlotFile) -> SlotFile:
    looks = np.random.default_rng(2).normal(size=(*slot_file.slots.shape[:2], 5))
    return replace(slot_file, appearance=looks.astype(np.float16))


def assert_equal(left: SlotFile, right: SlotFile) -> None:
    for name in DTYPES:
        if name in (OPTIONAL, UNEDITED) and getattr(left, name) is None:
            assert getattr(right, name) is None
            continue
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
        assert getattr(left, name).dtype == getattr(right, name).dtype
    assert left.metadata == right.metadata


def with_header(path: Path, edit) -> None:
    """Rewrite the safetensors header of a file."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    edit(header)
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + data[8 + length :])


def with_metadata(path: Path, edit) -> None:
    """Edit the metadata of a slot file, without repairing its hash."""

    def edit_header(header: dict) -> None:
        metadata = json.loads(header["__metadata__"][METADATA_KEY])
        edited = edit(metadata)
        header["__metadata__"][METADATA_KEY] = (
            edited if isinstance(edited, str) else json.dumps(metadata)
        )

    with_header(path, edit_header)


@pytest.mark.parametrize("looks", [False, True])
def test_round_trip_and_byte_identity(tmp_path, looks):
    slot_file = with_appearance(example()) if looks else example()
    whole = tmp_path / "whole.safetensors"
    write_slot_file(whole, slot_file)
    for chunk in (1, 3, 7):
        path = tmp_path / f"{chunk}.safetensors"
        write_in_chunks(path, slot_file, chunk)
        assert path.read_bytes() == whole.read_bytes()
    assert_equal(read_slot_file(whole), slot_file)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("looks", [False, True])
def test_same_bytes_as_the_safetensors_library(tmp_path, looks):
    path = tmp_path / "clip.slots.safetensors"
    write_slot_file(path, with_appearance(example()) if looks else example())
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert list(metadata) == [METADATA_KEY]
    schema = json.loads(metadata[METADATA_KEY])["schema"]
    assert schema == ("slotcli.slots/1.1" if looks else "slotcli.slots/1")
    tensors = safetensors.numpy.load_file(path)
    assert safetensors.numpy.save(tensors, metadata) == path.read_bytes()


def test_keys_of_metadata_are_sorted_whatever_their_order(tmp_path):
    slot_file = example()
    write_slot_file(tmp_path / "a", slot_file)
    backwards = dict(reversed(METADATA.items()))
    write_slot_file(tmp_path / "b", replace(slot_file, metadata=backwards))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_every_mutant_loads_equal_or_is_refused(tmp_path, data):
    slot_file = example()
    path = tmp_path / "clip"
    write_slot_file(path, slot_file)
    content = bytearray(path.read_bytes())
    kind = data.draw(st.sampled_from(["flip", "header flip", "cut", "grow", "swap"]))
    header_end = 8 + int.from_bytes(content[:8], "little")
    limit = header_end if kind == "header flip" else len(content)
    place = data.draw(st.integers(0, limit - 1))
    if kind == "cut":
        del content[place:]
    elif kind == "grow":
        content[place:place] = data.draw(st.binary(min_size=1, max_size=9))
    elif kind == "swap":
        other = data.draw(st.integers(0, limit - 1))
        content[place], content[other] = content[other], content[place]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        loaded = read_slot_file(path)
    except DataError:
        return
    assert_equal(loaded, slot_file)


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("schema 'slotcli.slots/2'", lambda m: m.update(schema="slotcli.slots/2")),
        ("no schema", lambda m: m.update(schema=1)),
        ("no schema", lambda m: "[]"),
        ("not JSON", lambda m: "{"),
        ("not JSON", lambda m: "[" * 100_000),
        ("no hashes", lambda m: m.update(sha256=None)),
        ("'pts' .* its hash", lambda m: m["sha256"].update(pts="0")),
        ("metadata .* its hash", lambda m: m["transform"].update(crop=[0, 0, 20, 30])),
        ("damaged", lambda m: m.update(statistics=float("nan"))),
    ],
)
def test_bad_metadata_is_refused(tmp_path, name, edit):
    path = tmp_path / "clip"
    write_slot_file(path, example())
    with_metadata(path, edit)
    with pytest.raises(DataError, match=name):
        read_slot_file(path)


@pytest.mark.parametrize("value", [3, None, [], "clip"])
@pytest.mark.parametrize("section", SECTIONS)
def test_sections_that_are_no_tables_are_refused(tmp_path, monkeypatch, section, value):
    with monkeypatch.context() as patch:
        patch.setattr("slotcli.tracks.slot_file.Transform.from_json", lambda data: None)
        write_slot_file(
            tmp_path / "clip", replace(example(), metadata={**METADATA, section: value})
        )
    with pytest.raises(DataError, match=f"{section!r} .* is not a table"):
        read_slot_file(tmp_path / "clip")


def test_a_later_minor_schema_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("slotcli.tracks.slot_file.SCHEMA", "slotcli.slots/1.4")
    write_slot_file(tmp_path / "clip", example())
    monkeypatch.undo()
    assert_equal(read_slot_file(tmp_path / "clip"), example())


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("lacks the tensor 'flags'", {"flags": None}),
        ("'slots'.*F64", {"slots": np.zeros((7, 3, 6))}),
        ("'slots'.*shape", {"slots": np.zeros((7, 18), np.float32)}),
        ("not agree", {"slots": np.zeros((6, 3, 6), np.float32)}),
        ("not agree", {"slots": np.zeros((7, 4, 6), np.float32)}),
        ("not agree", {"pts": np.arange(8)}),
        ("'slots'.*shape", {"slots": np.zeros((0, 3, 6), np.float32)}),
    ],
)
def test_wrong_tensors_are_refused(tmp_path, message, changes):
    path = tmp_path / "clip"
    write_slot_file(path, example())
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors = {**safetensors.numpy.load_file(path), **changes}
    kept = {name: array for name, array in tensors.items() if array is not None}
    safetensors.numpy.save_file(kept, path, metadata)
    with pytest.raises(DataError, match=message):
        read_slot_file(path)


def test_non_finite_slots_in_a_file_with_right_hashes_are_refused(tmp_path, monkeypatch):
    slot_file = example()
    slot_file.slots[2, 1, 0] = np.inf
    monkeypatch.setattr("slotcli.tracks.slot_file.require_finite", lambda *arguments: None)
    write_slot_file(tmp_path / "clip", slot_file)
    with pytest.raises(DataError, match="NaN or infinity in 'slots'"):
        read_slot_file(tmp_path / "clip")


def test_files_that_are_no_slot_files(tmp_path):
    with pytest.raises(NoInputError):
        read_slot_file(tmp_path / "nothing")
    for content in (b"", b"text", bytes(100), b"\xff" * 100):
        (tmp_path / "clip").write_bytes(content)
        with pytest.raises(DataError):
            read_slot_file(tmp_path / "clip")
    safetensors.numpy.save_file({"a": np.zeros(1)}, tmp_path / "clip")
    with pytest.raises(DataError, match="no slot file"):
        read_slot_file(tmp_path / "clip")


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(CannotCreateError):
        write_slot_file(tmp_path / "missing" / "clip", example())
    with pytest.raises(CannotCreateError):
        Journal(tmp_path / "missing" / "journal", "key")
