"""Availability and errors of torch.compile."""

import os
import shutil
import sys
from importlib.util import find_spec

from torch import device as Device


def why_not_compiled(device: Device) -> str | None:
    """Reason why torch.compile cannot compile for a device, None if it can."""
    if device.type == "cuda":
        return None if find_spec("triton") else "Triton is not installed."
    compiler = os.environ.get("CXX", "g++")
    return None if shutil.which(compiler) else f"There is no C++ compiler ({compiler})."


def compile_errors() -> tuple[type[Exception], ...]:
    """Exceptions of torch.compile; empty if the compiler was never imported.

    It is not imported for this, because that takes seconds.
    """
    compiler = sys.modules.get("torch._dynamo.exc")
    return () if compiler is None else (compiler.TorchDynamoException,)


def first_line(error: Exception) -> str:
    """First line of a compiler error."""
    return f"torch.compile failed: {str(error).strip().partition(chr(10))[0]}"
