"""Colour grids of edited objects: their map moves as the objects' own pixels would."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_edits import COUNT, FRAMES, SIDE, edit, made

from slotcli.encoder.appearance import Appearance, colour_map
from slotcli.errors import DataError
from slotcli.model import normalise
from slotcli.results.reconstruct import _layout
from slotcli.tracks.slot_file import SlotFile, write_slot_file
from slotcli.types import EXTENT

GRID = 3


@pytest.fixture(scope="module")
def shaded() -> SlotFile:
    """The clip's slot file with grids, its square shaded from left to right."""
    frames = FRAMES.copy()
    shade = np.linspace(0, 255, SIDE).astype(np.uint8)
    for index in range(COUNT):
        frames[index, 4 * index : 4 * index + SIDE, 20 : 20 + SIDE] = shade[:, None]
    return with_grids(made(), frames)


def with_grids(slot_file: SlotFile, frames: np.ndarray) -> SlotFile:
    attention = torch.from_numpy(slot_file.attention).float()
    normal = normalise(torch.from_numpy(frames).permute(0, 3, 1, 2))
    maps = torch.zeros(COUNT, 2, *attention.shape[2:])
    looks = Appearance(GRID, background=0)(attention[None].flatten(3), maps, normal[None])[0]
    model = {"name": "none", "weights_sha256": "0", "spec": {"decoder": {"colour_grid": GRID}}}
    metadata = {**slot_file.metadata, "model": model}
    return replace(slot_file, appearance=looks.numpy().astype(np.float16), metadata=metadata)


def shown(slot_file: SlotFile, kept: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    """The red channel of the map that a decoder sees of these columns."""
    seen = _layout(slot_file, list(kept), slice(None))
    assert seen.appearance is not None
    return colour_map(seen.attention.float(), seen.appearance[..., 5:], GRID)[:, 0].numpy()


def inside(slot_file: SlotFile, column: int = 1) -> np.ndarray:
    return slot_file.attention[:, column] > 0.5


@pytest.mark.parametrize("dx", [8, -8, 36, -24])
def test_a_grid_moves_with_its_object_also_out_of_the_frame(shaded: SlotFile, dx: int) -> None:
    changed = edit(f"move 2={dx},0", of=shaded)
    cells = dx // 4
    there = inside(changed)
    assert 0 < there.sum() <= inside(shaded).sum()
    wanted = np.roll(shown(shaded), cells, axis=2)
    np.testing.assert_allclose(shown(changed)[there], wanted[there], atol=0.01)
    outside = ~there & ~inside(shaded)
    np.testing.assert_allclose(shown(changed)[outside], shown(shaded)[outside], atol=1e-6)


def test_steps_in_parts_place_grids_as_one_step(shaded: SlotFile) -> None:
    once = edit("move 2=8,4", "scale 2=1.5", "move 2=-4,0", "copy 2=-12,0", of=shaded)
    parts = shaded
    for step in ("move 2=8,4", "scale 2=1.5", "move 2=-4,0", "copy 2=-12,0"):
        parts = edit(step, of=parts)
    assert once.appearance is not None
    assert parts.appearance is not None
    np.testing.assert_array_equal(parts.appearance, once.appearance)
    placed = once.appearance[:, 1, -EXTENT:].astype(float)
    assert shaded.appearance is not None
    before = shaded.appearance[:, 1, -EXTENT:].astype(float)
    # A square's centre is the centre of its mask, about which it is scaled.
    np.testing.assert_allclose(placed[:, 0], before[:, 0] + 4 / 48, atol=2e-3)
    np.testing.assert_allclose(placed[:, 1], before[:, 1] + 4 / 64, atol=2e-3)
    np.testing.assert_allclose(placed[:, 2:], 1.5 * before[:, 2:], atol=2e-3)
    copy = once.appearance[:, 3, -EXTENT:].astype(float)
    np.testing.assert_allclose(copy[:, 1], placed[:, 1] - 12 / 64, atol=2e-3)


def test_a_held_object_keeps_its_grid_where_it_is_held(shaded: SlotFile) -> None:
    changed = edit("hold 2=2", of=shaded)
    held = inside(shaded)[2]
    for frame in shown(changed):
        np.testing.assert_allclose(frame[held], shown(shaded)[2][held], atol=1e-3)


def test_what_is_kept_alone_looks_as_it_did(shaded: SlotFile) -> None:
    there = inside(shaded)
    np.testing.assert_allclose(shown(shaded, (1,))[there], shown(shaded)[there], atol=1e-3)


def test_a_swapped_look_is_laid_where_the_object_is(shaded: SlotFile, tmp_path: Path) -> None:
    blue = np.full_like(FRAMES, 40)
    other = with_grids(replace(made(), attention=np.roll(made().attention, 3, axis=3)), blue)
    write_slot_file(tmp_path / "o.safetensors", other)
    changed = edit(f"swap 2={tmp_path / 'o.safetensors'}:2", of=shaded)
    np.testing.assert_allclose(shown(changed)[inside(shaded)], 40 / 127.5 - 1, atol=0.02)
    for unlike in (
        replace(other, appearance=None),
        replace(other, appearance=other.slots.astype(np.float16)),
    ):
        write_slot_file(tmp_path / "u.safetensors", unlike)
        with pytest.raises(DataError, match="look"):
            edit(f"swap 2={tmp_path / 'u.safetensors'}:2", of=shaded)
