"""Bugs in the Triton cross-attention."""

from mutants import Mutant

FILE = "triton_slot_cross_attention.py"
PARITY = "test_slot_cross_attention.py::test_it_agrees_with_the_reference"
RAGGED = f"{PARITY}[shape2-dtype0]"

MUTANTS = [
    Mutant(
        "cross-attention: slots that are padding are attended to",
        FILE,
        'tl.where((slot < N)[None], logits, -float("inf"))',
        "logits",
        RAGGED,
    ),
    Mutant(
        "cross-attention: vectors are taken head by head",
        FILE,
        "vectors = (b * N * HEADS + slot * HEADS + head)[:, None] * C + d[None]",
        "vectors = (b * N * HEADS + head * N + slot)[:, None] * C + d[None]",
        RAGGED,
    ),
    Mutant(
        "cross-attention: all frames have the first one's offset",
        FILE,
        "offset + b * N * HEADS + slot",
        "offset + 0 * b * N * HEADS + slot",
        RAGGED,
    ),
    Mutant(
        "cross-attention: frames are as far apart as their own positions say",
        FILE,
        "places = x + b * stride_b + p[:, None] * stride_p + d[None]",
        "places = x + b * positions * C + p[:, None] * C + d[None]",
        RAGGED,
    ),
]
