"""A sheet of masks on held-out clips per evaluation, to monitor training."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from slotcli.errors import printable
from slotcli.files.writing import output_errors, whole_file
from slotcli.report.overlay import fit, overlay_frame, shrink
from slotcli.types import Size
from slotcli.video.own_outputs import png_mark

MASKS = "masks"  # the folder of a run's sheets
MAX_CLIPS = 6
LEAST_SIDE = 96  # smaller frames are enlarged by an integer factor
THUMBNAIL: Size = (128, 192)
GAP = 4  # between clips, and between frames and masks; the two frames of a clip touch
PAPER = 255
OPACITY = 0.6


def write_mask_sheet(
    path: Path, frames: UInt8[Tensor, "b t 3 h w"], labels: UInt8[np.ndarray, "b t h w"]
) -> None:
    """Write the first and the last frame of up to 6 clips as a PNG, with every slot below.

    `labels` are the slots of the pixels, from 0; all are coloured, because no background is chosen.
    Equal calls give equal bytes. The folder of `path` is created if missing.
    Raises: OutputError and its kin.
    """
    clips = [
        np.concatenate([_column(frames, labels, clip, index) for index in _ends(frames)], axis=1)
        for clip in range(min(MAX_CLIPS, len(frames)))
    ]
    height, width, _ = clips[0].shape
    sheet = np.full((height, len(clips) * (width + GAP) - GAP, 3), PAPER, dtype=np.uint8)
    for place, clip in enumerate(clips):
        left = place * (width + GAP)
        sheet[:, left : left + width] = clip
    with output_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        Image.fromarray(sheet).save(file, format="PNG", pnginfo=png_mark())


def sheet_name(step: int) -> str:
    """Relative path of a step's sheet within a run's folder."""
    return f"{MASKS}/step-{step:08d}.png"


def sheet_steps(folder: Path) -> list[int]:
    """Steps with a sheet in a run's folder, ascending."""
    names = [path.stem.removeprefix("step-") for path in (folder / MASKS).glob("step-*.png")]
    return sorted(int(name) for name in names if printable(name).isdecimal())


def _ends(frames: UInt8[Tensor, "b t 3 h w"]) -> list[int]:
    return [0] if frames.shape[1] == 1 else [0, frames.shape[1] - 1]


def _column(
    frames: UInt8[Tensor, "b t 3 h w"],
    labels: UInt8[np.ndarray, "b t h w"],
    clip: int,
    index: int,
) -> UInt8[np.ndarray, "height width 3"]:
    """A frame, with its slot overlay below."""
    frame = frames[clip, index].permute(1, 2, 0).cpu().numpy()
    shown = labels[clip, index] + np.uint8(1)
    times = max(1, LEAST_SIDE // min(shown.shape))
    frame, shown = (a.repeat(times, axis=0).repeat(times, axis=1) for a in (frame, shown))
    frame, shown = shrink(frame, shown, fit((shown.shape[0], shown.shape[1]), THUMBNAIL))
    gap = np.full((GAP, shown.shape[1], 3), PAPER, dtype=np.uint8)
    return np.concatenate([frame, gap, overlay_frame(frame, shown, OPACITY)])
