"""Tests of the Triton kernels in Triton's interpreter, on tensors of the CPU.

The interpreter has to be chosen before Triton is loaded, so these run in a process of their own,
which `test_interpreted.py` starts. By hand: TRITON_INTERPRET=1 pytest tests/kernels/interpreted
"""

import itertools
import os
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

if os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore_glob = ["test_*.py"]

Guarded = Callable[..., Tensor]


@pytest.fixture(autouse=True)
def _outputs_start_as_nan() -> Iterator[None]:
    """Whatever is allocated empty is full of NaN, or of the largest integer, until written."""
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("error")
    yield
    torch.set_deterministic_debug_mode("default")


@pytest.fixture
def guarded() -> Guarded:
    """Places a tensor inside a larger one full of NaN, with strides that no other one has.

    `innermost` is the dimension whose elements stay side by side.
    """
    numbers = itertools.count(1)

    def place(tensor: Tensor, innermost: int = -1) -> Tensor:
        margin = next(numbers)
        moved = tensor.detach().movedim(innermost, -1)
        around = moved.new_full([size + 2 * margin for size in moved.shape], torch.nan)
        inside = around[tuple(slice(margin, margin + size) for size in moved.shape)]
        inside.copy_(moved)
        return inside.movedim(-1, innermost)

    return place
