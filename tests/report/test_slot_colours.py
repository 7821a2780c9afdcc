"""The palette as people of every kind of colour vision see it."""

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from slotcli.report.palette import DISTINCT, slot_colours

# Machado, Oliveira and Fernandes 2009, table 1, severity 1: on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def seen(rgb: np.ndarray, vision: str) -> np.ndarray:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(VISION[vision]).T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(("count", "least"), [(7, 11.5), (12, 11.5), (16, 10), (DISTINCT, 7.5)])
def test_colours_are_far_apart(vision, count, least):
    """A difference of 2.3 is just noticeable."""
    lab = rgb2lab(seen(slot_colours()[1 : count + 1] / 255, vision)[None])[0]
    distance = deltaE_ciede2000(lab[:, None], lab[None])
    assert distance[~np.eye(count, dtype=bool)].min() >= least


def test_colours_show_on_dark_and_on_light_pictures():
    lightness = rgb2lab(slot_colours()[1 : DISTINCT + 1][None] / 255)[0, :, 0]
    assert lightness.min() > 40
    assert lightness.max() < 95
