"""Setup that several commands share: device, threads and precision."""

from typing import TYPE_CHECKING

from slotcli.commands import console
from slotcli.errors import UnavailableError, UsageError
from slotcli.limits import threads_for

if TYPE_CHECKING:
    import torch

    from slotcli.kernels.dispatch import Backend
    from slotcli.model import SlotModel


def choose_device(name: str) -> "torch.device":
    """`auto`, `cpu` or `cuda[:i]`; `auto` falls back to the CPU with a notice, `cuda` does not."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return _numbered(torch.device("cuda"))
        console.note("No GPU found: running on the CPU.")
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: no such device.", "Use auto, cpu, cuda or cuda:1.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UnavailableError(f"--device {name}: there is no such GPU.", "Use --device auto.")
    return _numbered(device)


def _numbered(device: "torch.device") -> "torch.device":
    """A device with its index, which parts of torch.cuda require."""
    import torch

    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def place(network: "SlotModel", device: "torch.device") -> None:
    """Moves a model to its device, in the memory format in which convolutions are fastest."""
    import torch

    network.to(device).to(memory_format=torch.channels_last)


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

        height, width = model_size(model)
        threads = threads_for(None, height * width)
    else:
        threads = threads_for(threads)
    import torch

    torch.set_num_threads(threads)
    return threads
