"""Whether torch.compile works here, and what it raises where it does not."""

import os
import shutil
import sys
from importlib.util import find_spec

from torch import device as Device


def why_not_compiled(device: Device) -> str | None:
    """Why torch.compile cannot make code for a device here, None where it can."""
    if device.type == "cuda":
        return None if find_spec("triton") else "Triton is not installed."
    compiler = os.environ.get("CXX", "g++")
    return None if shutil.which(compiler) else f"There is no C++ compiler ({compiler})."


def compile_errors() -> tuple[type[Exception], ...]:
    """What torch.compile raises where it fails, whatever the cause: nothing where it never ran.

    It is not loaded to find out, which would take seconds.
    """
    compiler = sys.modules.get("torch._dynamo.exc")
    return () if compiler is None else (compiler.TorchDynamoException,)


def failure(error: Exception) -> str:
    """The first line of what the compiler said."""
    return f"torch.compile failed: {str(error).strip().partition(chr(10))[0]}"
