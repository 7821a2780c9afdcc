"""Dispatches operations to plain torch, or to Triton on a CUDA device.

`auto` uses Triton where it can and plain torch elsewhere, and logs the reason once. `reference`
never uses Triton. `triton` uses it or raises, so that a measurement cannot silently be one of
another backend.
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

OLDEST = (8, 0)  # compute capability: the kernels need asynchronous copies and bfloat16

_log = logging.getLogger("slotcli.kernels")
_chosen: Backend = "auto"
_said: set[tuple[str, str]] = set()


def set_backend(backend: Backend) -> None:
    """Sets the backend of all operations in this process."""
    global _chosen
    _chosen = backend


def backend() -> Backend:
    """The current backend of all operations."""
    return _chosen


@contextmanager
def use_backend(backend: Backend) -> Iterator[None]:
    """Sets the backend of all operations inside the context."""
    before = _chosen
    set_backend(backend)
    try:
        yield
    finally:
        set_backend(before)


def is_interpreted() -> bool:
    """Whether Triton's interpreter replaces the GPU; has to be set before Triton is imported."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def takes_triton(operation: str, device: Device, unsupported: str | None = None) -> bool:
    """Whether this call runs on Triton; `unsupported` is the reason if its shape cannot.

    Raises UnavailableError if the backend is `triton` and Triton cannot run the call.
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
    """Reason why Triton kernels cannot run on a device, None if they can."""
    if device.type != "cuda" and not is_interpreted():
        return f"the tensors are on the {device.type}"
    if find_spec("triton") is None:
        return "Triton is not installed"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < OLDEST:
        return "the GPU is older than sm_80"
    return None
