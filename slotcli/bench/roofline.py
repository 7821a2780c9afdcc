"""The roofline of this machine, measured in the same session as the operations."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch import device as Device

from slotcli.bench.forms import DTYPES
from slotcli.bench.timing import Action, interleaved

_COPY_BYTES = 1 << 28  # bytes read and written: far beyond any cache
_MATMUL = {"cpu": 1024, "cuda": 8192}  # rows, columns and depth


@dataclass(frozen=True)
class Roofline:
    """Bytes per second of a large copy, read and written; operations per second of matrix products.

    On a CPU, seconds are the sum over all threads, as in `Timing.cost`.
    """

    copy_bytes_per_second: float
    flops_per_second: dict[str, float]  # by dtype: fp32, bf16

    def compute_seconds(self, flops: int, precision: str) -> float:
        """The lower bound of the cost of `flops` operations in matrix products."""
        return flops / self.flops_per_second[precision]


def roofline(device: Device, rounds: int) -> Roofline:
    """Medians of a large copy and of matrix products in each dtype."""
    side = _MATMUL[device.type]
    actions: dict[str, Action[object]] = {"copy": copy_of(_COPY_BYTES, device)}
    for name, dtype in DTYPES.items():
        actions[name] = _product(torch.ones(side, side, dtype=dtype, device=device))
    found = interleaved(actions, frames=1, rounds=rounds, warm_up=1)
    return Roofline(
        copy_bytes_per_second=_COPY_BYTES / found["copy"].cost,
        flops_per_second={name: 2 * side**3 / found[name].cost for name in DTYPES},
    )


def copy_of(nbytes: int, device: Device) -> Action[object]:
    """A copy that reads and writes `nbytes` bytes in total, half of them each."""
    source = torch.ones(max(1, nbytes // 2), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _product(matrix: Tensor) -> Action[object]:
    out = torch.empty_like(matrix)
    return lambda: torch.mm(matrix, matrix, out=out)
