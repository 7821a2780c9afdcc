"""Edits change slots, soft masks and the clip's own pixels as they say, and nothing else.

The clip is made here: a square moves over a ground of noise, and its slot file has its true masks.
"""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import slotcli
from slotcli.editing.apply import edited
from slotcli.editing.doubts import mask_doubts, verdict_doubt
from slotcli.editing.plate import inpainted
from slotcli.editing.steps import Kind, Step, parsed_step, read_script, recorded_steps
from slotcli.errors import CannotCreateError, ClipWarning, DataError, UsageError
from slotcli.files.layout import RESULT
from slotcli.tracks import slot_file as slot_files
from slotcli.tracks.slot_file import SlotFile, read_slot_file, write_slot_file
from slotcli.tracks.transform import Transform
from slotcli.video.reader import open_clip
from slotcli.video.writer import VideoWriter

CELL, GRID, COUNT = 4, (12, 16), 8
SIZE = (CELL * GRID[0], CELL * GRID[1])
TOPS = [4 * index for index in range(COUNT)]  # of the square, in pixels: a cell per frame
LEFT, SIDE = 20, 12
GROUND = np.random.default_rng(0).integers(0, 200, (*SIZE, 3), np.uint8)


def square(top: int, left: int = LEFT) -> tuple[slice, slice]:
    return slice(top, top + SIDE), slice(left, left + SIDE)


FRAMES = np.stack([GROUND] * COUNT)
for _index, _top in enumerate(TOPS):
    FRAMES[_index][square(_top)] = 220 + _index


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A folder with the clip, its slot file (slot 0: background, 1: the square, 2: nothing)."""
    with VideoWriter(tmp_path / "clip.mkv", SIZE, Fraction(1, 1000), codec="ffv1-rgb") as video:
        for index, frame in enumerate(FRAMES):
            video.write(frame, 40 * index, 40)
    write_slot_file(tmp_path / "clip.safetensors", made())
    recorded = {
        "source": {"path": str(tmp_path / "clip.mkv")},
        "verdict": {"passed": None, "sentence": "Not judged: too little moves."},
    }
    (tmp_path / RESULT).write_text(json.dumps(recorded))
    return tmp_path


def made() -> SlotFile:
    attention = np.zeros((COUNT, 3, *GRID), np.float16)
    for index, top in enumerate(TOPS):
        rows, columns = square(top)
        cells = (
            slice(rows.start // 4, rows.stop // 4),
            slice(columns.start // 4, columns.stop // 4),
        )
        attention[index, 1][cells] = 1
    attention[:, 0] = 1 - attention[:, 1]
    rows = np.arange(COUNT)
    return SlotFile(
        slots=np.random.default_rng(1).normal(size=(COUNT, 3, 5)).astype(np.float32),
        attention=attention,
        pts=40 * rows,
        duration=40 + 0 * rows,
        frame_index=rows,
        flags=np.zeros(COUNT, np.uint8),
        metadata={
            "model": {"name": "none", "weights_sha256": "0", "spec": {}},
            "source": {"time_base": [1, 1000]},
            "transform": Transform(SIZE, (0, 0, *SIZE), SIZE).to_json(),
            "sampling": {},
            "run": {"options": {"edges": "bilinear"}},
            "statistics": {"background": 0},
        },
    )


def edit(*steps: str, of: SlotFile | None = None) -> SlotFile:
    kinds: list[tuple[Kind, str]] = [tuple(step.split()) for step in steps]  # type: ignore[misc]
    return edited(of or made(), [parsed_step(kind, text) for kind, text in kinds], "hash")


def composited(cli, result: Path, *options: str) -> np.ndarray:
    code, _, err = cli(
        "edit", result / "clip.safetensors", "-o", result / "e.safetensors", *options
    )
    assert code == 0, err
    given = ["reconstruct", result / "e.safetensors", "--composite", "-o", result / "e.mkv"]
    code, _, err = cli(*given, "--overwrite")
    assert code == 0, err
    with open_clip(result / "e.mkv") as reader:
        return np.concatenate([chunk.frames for chunk in reader.chunks(16)])


def test_what_was_removed_is_the_ground_that_other_frames_show(cli, result: Path) -> None:
    found = composited(cli, result, "--drop", "2")
    for frame in found:
        np.testing.assert_array_equal(frame, GROUND)


def test_a_moved_object_is_where_it_was_put_and_all_else_is_the_sources(cli, result: Path) -> None:
    found = composited(cli, result, "--move", "2=16,4")
    for index, top in enumerate(TOPS):
        target = square(top + 4, LEFT + 16)
        inner = tuple(slice(part.start + 3, part.stop - 3) for part in target)
        rest = np.ones(SIZE, bool)
        rest[target] = False
        visible = found[index][inner]
        assert (visible == 220 + index).all(), index
        np.testing.assert_array_equal(found[index][rest], GROUND[rest])


def test_a_held_object_stays_and_a_reversed_clip_is_the_source_backwards(cli, result: Path) -> None:
    found = composited(cli, result, "--hold", "2=3")
    inner = tuple(slice(part.start + 3, part.stop - 3) for part in square(TOPS[3]))
    assert (found[:, inner[0], inner[1]] == 223).all()
    code, _, err = cli("edit", result / "e.safetensors", "--reverse", "all", "--hold", "2=0")
    assert code == 0, err
    assert "warning: The audit does not trust this result. Not judged" in err
    (result / "e.safetensors").unlink()
    found = composited(cli, result, "--reverse", "all")
    np.testing.assert_array_equal(found, FRAMES[::-1])


def test_h264_says_that_it_changes_pixels(cli, result: Path) -> None:
    cli("edit", result / "clip.safetensors", "-o", result / "e.safetensors", "--drop", "2")
    given = ["reconstruct", result / "e.safetensors", "--composite", "--json", "-o"]
    code, out, err = cli(*given, result / "e.mp4")
    assert code == 0
    assert "H.264 changes pixels everywhere" in err
    record = json.loads(out)["composite"]
    assert (record["fill"]["method"], record["lossless"]) == ("median", False)
    code, out, _ = cli(*given, result / "f.mkv", "--fill", "ns")
    assert (code, json.loads(out)["composite"]["fill"]["method"]) == (0, "ns")
    assert b"filled by Navier-Stokes" in (result / "f.mkv").read_bytes()


def test_soft_masks_move_by_whole_cells_and_sum_to_one() -> None:
    before, after = made().attention, edit("move 2=8,-4").attention
    expected = np.zeros_like(before[:, 1])
    expected[:, :-1, 2:] = before[:, 1, 1:, :-2]
    np.testing.assert_array_equal(after[:, 1], expected)
    for steps in (["scale 2=1.7", "copy 2=-8,3"], ["reverse 2", "hold 2=1"], ["drop 2"]):
        total = edit(*steps).attention.astype(np.float32).sum(axis=1)
        np.testing.assert_allclose(total, 1, atol=2e-3)


def test_slots_follow_their_steps_and_ids_stay() -> None:
    before = made().slots
    np.testing.assert_array_equal(edit("reverse 2").slots[:, 1], before[::-1, 1])
    np.testing.assert_array_equal(edit("hold 2=5").slots[:, 1], before[[5] * COUNT][:, 1])
    copied = edit("copy 2=8,0", "drop 2")
    assert copied.slots.shape == (COUNT, 4, 5)
    np.testing.assert_array_equal(copied.slots[:, 3], before[:, 1])
    np.testing.assert_array_equal(copied.slots[:, 1], before[:, 0])  # of what took its positions
    assert (copied.attention[:, 1] == 0).all()
    assert copied.metadata["history"]["dropped"] == [2]
    assert edit("keep 3").metadata["history"]["dropped"] == [2]


def test_an_edit_of_an_edit_is_both_at_once() -> None:
    once, twice = edit("move 2=3,2", "scale 2=0.8"), edit("scale 2=0.8", of=edit("move 2=3,2"))
    assert once.metadata == twice.metadata
    for name in ("slots", "attention", "unedited_attention"):
        np.testing.assert_array_equal(getattr(once, name), getattr(twice, name))
    with pytest.raises(UsageError):
        edit("move 2=1,1", of=edit("drop 2"))


def test_readers_of_the_first_schema_read_edits(tmp_path: Path, monkeypatch) -> None:
    changed = edit("move 2=8,0")
    write_slot_file(tmp_path / "e.safetensors", changed)
    again = read_slot_file(tmp_path / "e.safetensors")
    np.testing.assert_array_equal(again.unedited_attention, changed.unedited_attention)
    assert recorded_steps(again.metadata["history"]["steps"]) == [Step("move", (2,), dx=8)]
    types = {name: kind for name, kind in slot_files.DTYPES.items() if name != slot_files.UNEDITED}
    monkeypatch.setattr(slot_files, "DTYPES", types)
    old = read_slot_file(tmp_path / "e.safetensors")
    assert old.unedited_attention is None
    np.testing.assert_array_equal(old.attention, changed.attention)


def test_scripts_and_their_mistakes(tmp_path: Path) -> None:
    script = tmp_path / "edits.toml"
    script.write_text('edits = [{drop = "3"}, {move = "2=4,-5"}]')
    assert read_script(script) == [Step("drop", (3,)), Step("move", (2,), dx=4, dy=-5)]
    for text in ('edits = [{jump = "3"}]', "edits = []", 'edits = [{move = "3"}]', "x = 1", "["):
        script.write_text(text)
        with pytest.raises(DataError):
            read_script(script)
    wrong = {"move": ["2", "2=1", "2=nan,1", "0x=1,1"], "scale": ["2=0", "2=x"], "drop": ["", "a"]}
    for kind, texts in {**wrong, "swap": ["2=3"], "hold": ["2="]}.items():
        for text in texts:
            with pytest.raises(UsageError):
                parsed_step(kind, text)  # type: ignore[arg-type]
    for step in ("drop 1", "drop 9", "hold 2=99"):
        with pytest.raises(UsageError):
            edit(step)


def test_refusals_leave_nothing(cli, result: Path) -> None:
    slots = result / "clip.safetensors"
    assert cli("edit", slots)[0] == 2
    assert cli("edit", slots, "--drop", "2", "-o", slots, "--overwrite")[0] == 73
    assert cli("edit", slots, "--drop", "2", "--dry-run")[0] == 0
    assert cli("reconstruct", slots, "--composite")[0] == 2
    assert not (result / "edited.slots.safetensors").exists()
    code, _, err = cli("edit", slots, "--move", "2=4,4")
    assert code == 0
    assert "reconstruct shows this edit with --composite only" in err
    assert cli("edit", slots, "--move", "2=4,4")[0] == 73
    (result / "clip.mkv").unlink()
    moved = result / "edited.slots.safetensors"
    assert cli("reconstruct", moved, "--composite")[0] == 66
    assert not (result / "composite.mkv").exists()


def test_doubts_name_what_is_wrong_with_a_mask(tmp_path: Path) -> None:
    sound = made()
    assert mask_doubts(sound, 2) == []
    assert "is in no frame" in mask_doubts(sound, 3)[0]
    attention = sound.attention.copy()
    attention[4:] = np.roll(attention[4:], 9, axis=3)
    (doubt,) = mask_doubts(replace(sound, attention=attention), 2)
    assert "jumps at frame 4" in doubt
    assert verdict_doubt(tmp_path / "absent") is None


def test_inpainting_changes_the_hole_alone() -> None:
    where = np.zeros(SIZE, bool)
    where[square(8)] = True
    for method in ("telea", "ns"):
        filled = inpainted(FRAMES[2], where, method)
        np.testing.assert_array_equal(filled[~where], FRAMES[2][~where])
        assert (filled[where] != FRAMES[2][where]).any()


def test_a_swap_takes_the_look_of_another_results_object(tmp_path: Path) -> None:
    whole = made()
    rows = ("slots", "attention", "pts", "duration", "frame_index", "flags")
    other = replace(whole, **{name: getattr(whole, name)[:5] for name in rows})
    other = replace(other, slots=other.slots + 1)
    write_slot_file(tmp_path / "o.safetensors", other)
    changed = edit(f"swap 2={tmp_path / 'o.safetensors'}:3")
    expected = other.slots[[0, 1, 2, 3, 4, 4, 4, 4], 2]  # its last frame stays
    np.testing.assert_array_equal(changed.slots[:, 1], expected)
    assert str(tmp_path) not in json.dumps(changed.metadata)
    model = {**other.metadata, "model": {"name": "another", "weights_sha256": "1"}}
    write_slot_file(tmp_path / "o.safetensors", replace(other, metadata=model))
    with pytest.raises(UsageError):
        edit(f"swap 2={tmp_path / 'o.safetensors'}:3")


def test_python_writes_the_file_of_the_command_line(cli, result: Path) -> None:
    """Each kind of step, in another order than that in which they apply."""
    other = result / "other.safetensors"
    write_slot_file(other, made())
    options = [("--drop", "2"), ("--copy", "2=4,0"), ("--move", "2=16.5,-4"), ("--scale", "2=0.5")]
    options += [("--reverse", "2"), ("--hold", "2"), ("--swap", f"2={other}:3")]
    given = [part for option in options for part in option]
    code, _, err = cli("edit", result / "clip.safetensors", "-o", result / "e.safetensors", *given)
    assert code == 0, err
    with pytest.warns(ClipWarning) as doubts:
        changed = slotcli.edit(
            slotcli.load(result / "clip.safetensors"),
            drop=[2],
            copy={2: (4, 0)},
            move={2: (16.5, -4)},
            scale={2: 0.5},
            reverse=[2],
            hold={2: None},
            swap={2: (other, 3)},
        )
    assert "Not judged: too little moves." in str(doubts[0].message)
    assert changed.path == result / "edited.slots.safetensors"
    assert changed.path.read_bytes() == (result / "e.safetensors").read_bytes()
    assert changed.tracks["id"].max() == 4  # the copy's
    with pytest.raises(CannotCreateError, match="exists already"):
        slotcli.edit(result / "clip.safetensors", keep=[2])
    with pytest.raises(UsageError, match="No edit"):
        slotcli.edit(result / "clip.safetensors")


def test_a_dry_run_lists_a_step_a_line_and_writes_nothing(cli, result: Path) -> None:
    given = ("edit", result / "clip.safetensors", "--drop", 2, "--move", "2=16,4", "--dry-run")
    code, out, err = cli(*given)
    assert code == 0, err
    assert out.splitlines() == ["move 2=16,4", "drop 2"]
    assert not (result / "edited.slots.safetensors").exists()
