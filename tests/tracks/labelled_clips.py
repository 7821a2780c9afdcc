"""Clips of labels with everything that a format can trip over, and the files made of them."""

from contextlib import ExitStack
from fractions import Fraction

import numpy as np

from slotcli.tracks.formats.all_formats import PLACES, open_mask_writers
from slotcli.tracks.formats.masked_clip import MaskedClip

NAME = 'clip "x" <b>.mp4'
TIME_BASE = Fraction(1, 12800)
# Frames of different lengths, the first one later than 0.
PTS = [1024, 1536, 2560, 2600, 4000, 6001]
DURATION = [512, 1024, 40, 1400, 2001, 500]


def _moving():
    """Odd size, a crop, a ground, objects that come, go and come back, one of a single pixel."""
    labels = np.full((6, 37, 51), 255, np.uint8)
    labels[:, 2:, 5:49] = 0
    for frame in range(6):
        labels[frame, 4 : 14 + frame, 5 + frame : 20] = 3
    for frame in (1, 2, 5):
        labels[frame, 30, 40] = 7
    labels[2:4, 20:, 30:49] = np.random.default_rng(0).choice([0, 1, 3, 4], (2, 17, 19))
    labels[4] = np.where(labels[4] == 255, 255, 0)  # a frame without objects
    return labels


def _noise():
    """All labels that there are, and no ground: 254 slots without a background."""
    return np.random.default_rng(1).integers(1, 255, (3, 40, 31)).astype(np.uint8)


CLIPS = {
    "moving": _moving(),
    "noise": _noise(),
    "empty": np.zeros((3, 6, 7), np.uint8),
    "one pixel": np.array([0, 1, 255, 254], np.uint8).reshape(4, 1, 1),
    "one object": np.full((2, 1, 16), 2, np.uint8),
}


def source_pictures(labels):
    """The RGB pictures that the labels would be of, [t, h, w, 3]."""
    return np.random.default_rng(2).integers(0, 256, (*labels.shape, 3)).astype(np.uint8)


def written(folder, name, labels, clip_name=NAME):
    """Writes a clip of labels in one format, at its place in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    clip = MaskedClip(clip_name, labels.shape[1:], TIME_BASE)
    with ExitStack() as files:
        (writer,) = open_mask_writers([name], folder, clip, files)
        for frame in zip(labels, PTS, DURATION, source_pictures(labels), strict=False):
            writer.write(*frame)
    assert [path.name for path in folder.iterdir()] == [PLACES[name]]
    return folder / PLACES[name]
