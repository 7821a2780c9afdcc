"""The device to compute on, by its name."""

import torch

from slotcli.errors import UnavailableError, UsageError


def named_device(name: str) -> torch.device:
    """The device of `auto` (a GPU if there is one, else the CPU), `cpu`, `cuda` or `cuda:1`.

    A GPU's has its index, which parts of torch.cuda require. Raises UsageError for another name,
    UnavailableError where there is no such GPU.
    """
    if name == "auto":
        return _numbered(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: no such device.", "Use auto, cpu, cuda or cuda:1.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UnavailableError(f"--device {name}: there is no such GPU.", "Use --device auto.")
    return _numbered(device)


def _numbered(device: torch.device) -> torch.device:
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device
