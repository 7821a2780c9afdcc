from pathlib import Path

import numpy as np
import torch
from PIL import Image

from slotcli.report.mask_sheet import (
    GAP,
    MASKS,
    MAX_CLIPS,
    sheet_name,
    sheet_steps,
    write_mask_sheet,
)
from slotcli.report.palette import slot_colours

SIDE = 96


def clips(count: int, length: int) -> tuple[torch.Tensor, np.ndarray]:
    """Gray clips, each of its own level, in two slots: left half 0, right half 1."""
    levels = torch.arange(count, dtype=torch.uint8) * 20 + 60
    frames = levels.view(-1, 1, 1, 1, 1).expand(count, length, 3, SIDE, SIDE).clone()
    labels = np.zeros((count, length, SIDE, SIDE), dtype=np.uint8)
    labels[..., SIDE // 2 :] = 1
    return frames, labels


def sheet(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_clips_side_by_side_with_every_slot_below(tmp_path: Path):
    frames, labels = clips(2, 3)
    frames[:, 1] = 255  # neither the first frame nor the last
    path = tmp_path / sheet_name(500)
    write_mask_sheet(path, frames, labels)
    picture = sheet(path)
    assert picture.shape == (2 * SIDE + GAP, 2 * 2 * SIDE + GAP, 3)
    second = 2 * SIDE + GAP
    assert (picture[:SIDE, : 2 * SIDE] == 60).all()
    assert (picture[:SIDE, second:] == 80).all()
    colours = slot_colours().astype(int)
    for left in (0, SIDE, second, second + SIDE):
        for slot, column in ((0, 10), (1, SIDE - 10)):
            shown = picture[SIDE + GAP + 50, left + column] - picture[50, left + column]
            assert (np.sign(shown) == np.sign(colours[slot + 1] - picture[50, left + column])).all()


def test_small_pictures_are_enlarged_and_the_first_clips_shown(tmp_path: Path):
    frames, labels = clips(MAX_CLIPS + 3, 1)
    path = tmp_path / "sheet.png"
    write_mask_sheet(path, frames[..., ::3, ::3], labels[..., ::3, ::3])
    assert sheet(path).shape == (2 * SIDE + GAP, MAX_CLIPS * (SIDE + GAP) - GAP, 3)


def test_sheets_are_found_again_by_their_steps(tmp_path: Path):
    assert sheet_steps(tmp_path) == []
    frames, labels = clips(1, 2)
    for step in (20, 100_000_000, 3):
        write_mask_sheet(tmp_path / sheet_name(step), frames, labels)
    (tmp_path / MASKS / "step-odd.png").touch()
    assert sheet_steps(tmp_path) == [3, 20, 100_000_000]
