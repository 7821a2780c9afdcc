"""Bugs in the Triton group norm."""

from mutants import Mutant

FILE = "triton_group_norm_act.py"
PARITY = "test_group_norm_act.py::test_it_agrees_with_the_reference"
RAGGED = f"{PARITY}[shape0-dtype0-silu-True]"

MUTANTS = [
    Mutant(
        "group norm: positions beyond the map are summed up",
        FILE,
        "values = tl.where(inside, values - centre[None], 0)",
        "values = values - centre[None]",
        RAGGED,
    ),
    Mutant(
        "group norm: eps is forgotten",
        FILE,
        "tl.sqrt(tl.maximum(variance, 0) + eps)",
        "tl.sqrt(tl.maximum(variance, 0) + 1e-20)",
        f"{PARITY}[shape4-dtype4-silu-True]",
    ),
    Mutant(
        "group norm: the last stretch is read twice instead of the first",
        FILE,
        "part = partials + (b * splits + split) * 2 * channels + c",
        "part = partials + (b * splits + tl.maximum(split, 1)) * 2 * channels + c",
        RAGGED,
    ),
    Mutant(
        "group norm: the gradient of the mean is left out",
        FILE,
        "to_normed = to_z * w[None] - average[None] - normed * slope[None]",
        "to_normed = to_z * w[None] - normed * slope[None]",
        RAGGED,
    ),
    Mutant(
        "group norm: the shift is not subtracted again backward",
        FILE,
        "        centre -= tl.load(shift",
        "        centre += 0 * tl.load(shift",
        RAGGED,
    ),
]
