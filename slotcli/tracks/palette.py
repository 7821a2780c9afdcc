"""The 256 colours of DAVIS and PASCAL VOC annotation files."""

import numpy as np
from jaxtyping import UInt8


def davis_palette() -> UInt8[np.ndarray, "256 3"]:
    """RGB of every index: its bits go to red, green and blue in turn, most significant bit first.

    Source: PASCAL VOC development kit, VOClabelcolormap; DAVIS uses the same table.
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for position in range(8):
        for channel in range(3):
            bit = (index >> (3 * position + channel)) & 1
            colours[:, channel] |= (bit << (7 - position)).astype(np.uint8)
    return colours
