"""A result's page about a made clip, for tests."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from slotcli.report.clip_view import ClipView, ClipViewRecorder
from slotcli.report.page import JudgedFigure, LinkedFile, Report
from slotcli.tracks.statistics import SlotSummary
from slotcli.types import FLAG_CORRUPT, FLAG_RESET

SIZE = (48, 80)
BACKGROUND = SlotSummary(0, True, 30, 1.0, 0.0, 1.16, 3000.0, 0.8, 1.25, (90, 90, 90), 0.9)
BALL = SlotSummary(1, False, 30, 1.0, 0.0, 1.16, 256.0, 0.0667, 62.0, (200, 20, 30), 0.75)
GUEST = SlotSummary(2, False, 15, 0.5, 0.6, 1.16, 100.0, 0.026, 0.0, (20, 20, 230), 0.5)
UNUSED = SlotSummary(3, False, 0, 0.0, None, None, 0.0, 0.0, 0.0, None)


def scene(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A red square that moves to the right, and a blue one that is there from frame 15 on."""
    labels = np.zeros(SIZE, np.uint8)
    labels[12:28, 2 + 2 * index : 18 + 2 * index] = 1
    if index >= 15:
        labels[34:44, 10:20] = 2
    colours = np.array([(90, 90, 90), (200, 20, 30), (20, 20, 230)], np.uint8)
    return colours[labels], labels


def view(folder: Path, frames: int = 30) -> ClipView:
    with ClipViewRecorder(folder / "report-clip.mp4", SIZE, Fraction(25)) as recorder:
        for index in range(frames):
            flags = {4: FLAG_CORRUPT, 20: FLAG_RESET}.get(index, 0)
            recorder.add(*scene(index), ids=[0, 1, 2, 3], time=index / 25, flags=flags)
        return recorder.finish([0, 1, 2, 3])


def report(folder: Path, **changes: object) -> Report:
    made = Report(
        title="ball.mp4",
        passed=False,
        verdict="Not passed: one slot takes all.",
        trust=["Look at the masks."],
        figures=[JudgedFigure("used slots", "1.28", ">= 2", False)],
        warnings=[],
        limits=["It has 4 slots."],
        source=[("Size", "80 x 48")],
        model=[("Name", "tiny")],
        run=[("Seed", "0")],
        slots=[BACKGROUND, BALL, GUEST, UNUSED],
        files=[LinkedFile("masks", "masks"), LinkedFile("overlay.mp4", "overlay")],
        overlay="overlay.mp4",
        opacity=0.35,
        view=view(folder),
    )
    return replace(made, **changes)
