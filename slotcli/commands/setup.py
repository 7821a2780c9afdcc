"""Setup that several commands share: device, threads and precision."""

import math
from typing import TYPE_CHECKING

from slotcli.commands import console
from slotcli.limits import threads_for

if TYPE_CHECKING:
    import torch

    from slotcli.kernels.dispatch import Backend


def choose_device(name: str) -> "torch.device":
    """As `named_device`, with a notice where `auto` finds no GPU."""
    from slotcli.compute.devices import named_device

    device = named_device(name)
    if name == "auto" and device.type == "cpu":
        console.note("No GPU found: running on the CPU.")
    return device


def set_kernels(backend: "Backend") -> None:
    """Selects the form of the operations in this run."""
    from slotcli.kernels.dispatch import set_backend

    set_backend(backend)


def set_threads(threads: int | None, model: str | None = None) -> int:
    """Sets torch's CPU threads, by default as many as `threads_for` takes for the model's frames.

    Without a `model` the work is taken to be large, as training is. Raises as `threads_for` and,
    without `threads`, as `model_size`.
    """
    if threads is None and model is not None:
        from slotcli.checkpoint import model_size

        threads = threads_for(None, math.prod(model_size(model)))
    else:
        threads = threads_for(threads)
    import torch

    torch.set_num_threads(threads)
    return threads
