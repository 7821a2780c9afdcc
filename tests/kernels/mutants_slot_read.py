"""Bugs that the tests of the Triton slot read have to notice."""

from mutants import Mutant

FILE = "triton_slot_read.py"
RAGGED = "test_slot_read.py::test_it_agrees_with_the_reference[shape0-dtype0-True]"
CLIP = "test_slot_read.py::test_a_frame_of_a_clip_is_read_where_it_lies"

MUTANTS = [
    Mutant(
        "slot read: no eps in the weights",
        FILE,
        "tl.where(inside[:, None], shares + EPS, 0)",
        "tl.where(inside[:, None], shares, 0)",
        "test_slot_read.py::test_a_slot_that_nothing_attends_to_has_the_mean_of_all",
    ),
    Mutant(
        "slot read: positions beyond the last one have weight",
        FILE,
        "tl.where(inside[:, None], shares + EPS, 0)",
        "shares + EPS",
        RAGGED,
    ),
    Mutant(
        "slot read: padding takes part in the softmax over slots",
        FILE,
        'other=-float("inf"))\n\n    sums1',
        "other=0)\n\n    sums1",
        RAGGED,
    ),
    Mutant(
        "slot read: the mean is read with the features' stride",
        FILE,
        "mean + b * stride_mean + p, mask=inside, other=0)\n"
        "        scale = tl.load(rstd + b * stride_rstd + p, mask=inside, other=0)\n"
        "        shares",
        "mean + b * positions + p, mask=inside, other=0)\n"
        "        scale = tl.load(rstd + b * stride_rstd + p, mask=inside, other=0)\n"
        "        shares",
        CLIP,
    ),
    Mutant(
        "slot read: every stretch is stored as the first",
        FILE,
        "sums = partial_sums + part * N * D",
        "sums = partial_sums + b * tl.num_programs(1) * N * D",
        RAGGED,
    ),
    Mutant(
        "slot read: the gradient does not go through rstd",
        FILE,
        "slope = scale * scale * mean_zz",
        "slope = 0 * scale * mean_zz",
        RAGGED,
    ),
]
