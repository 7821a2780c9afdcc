"""Which form of an operation runs: plain torch everywhere, or Triton on a CUDA device.

`auto` takes Triton where it can and plain torch elsewhere, and logs once why not. `reference` never
takes Triton. `triton` takes it or raises: no measurement should turn into one of something else.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal

import torch
from torch import device as Device

from slotcli.errors import UnavailableError

Backend = Literal["auto", "reference", "triton"]

OLDEST = (8, 0)  # compute capability with the asynchronous copies and bfloat16 of the kernels

_log = logging.getLogger("slotcli.kernels")
_chosen: Backend = "auto"
_said: set[tuple[str, str]] = set()


def set_backend(backend: Backend) -> None:
    """The form that operations take from now on, in the whole process."""
    global _chosen
    _chosen = backend


def backend() -> Backend:
    """The form that operations take now."""
    return _chosen


@contextmanager
def using(backend: Backend) -> Iterator[None]:
    """The form that operations take inside the context."""
    before = _chosen
    set_backend(backend)
    try:
        yield
    finally:
        set_backend(before)


def interpreted() -> bool:
    """Whether Triton's interpreter stands in for a GPU; it has to be so before Triton is loaded."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def takes_triton(operation: str, device: Device, unsupported: str | None = None) -> bool:
    """Whether this call of an operation is one for Triton; `unsupported` says why its shape is not.

    Raises UnavailableError where Triton is demanded and cannot be had.
    """
    if _chosen == "reference":
        return False
    reason = without_triton(device) or unsupported
    if reason is None:
        return device.type == "cuda" or _chosen == "triton"
    if _chosen == "triton":
        raise UnavailableError(
            f"{operation}: no Triton kernel can run: {reason}.", "Use --kernels auto."
        )
    if device.type == "cuda" and (operation, reason) not in _said:
        _said.add((operation, reason))
        _log.warning("%s runs as plain torch: %s", operation, reason)
    return False


def without_triton(device: Device) -> str | None:
    """Why no Triton kernel can run on a device, None where they can."""
    if device.type != "cuda" and not interpreted():
        return f"the tensors are on the {device.type}"
    if find_spec("triton") is None:
        return "Triton is not installed"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < OLDEST:
        return "the GPU is older than sm_80"
    return None
