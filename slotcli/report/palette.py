"""The colours of objects on overlays and pages."""

from functools import cache

import numpy as np
from jaxtyping import UInt8

from slotcli.types import OUTSIDE

# The first seven: Okabe and Ito 2008, "Color Universal Design". Each of the others is, of all
# colours neither dark nor gray, the farthest from those before it by CIEDE2000, for normal vision,
# protanopia and deuteranopia (Machado et al. 2009), whichever of the three is least.
_COLOURS = (
    "56b4e9 e69f00 009e73 f0e442 cc79a7 d55e00 0072b2 5affd2 007869 78f0ff b4c387 c31e3c "
    "3c87ff c30f96 e18796 69d2c3 0f784b d2f096 b45a87 69964b 782dff 2db496 ff5a69 d20f00"
)
DISTINCT = 24  # colours; further objects repeat them, and differ by their numbers


@cache
def slot_colours() -> UInt8[np.ndarray, "256 3"]:
    """RGB colour of each label in overlays; black for the background and OUTSIDE.

    The palette of the mask files is too dark to be visible on video.
    """
    distinct = np.frombuffer(bytes.fromhex(_COLOURS), np.uint8).reshape(DISTINCT, 3)
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[1:OUTSIDE] = distinct[np.arange(OUTSIDE - 1) % DISTINCT]
    colours.setflags(write=False)
    return colours
