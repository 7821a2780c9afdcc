"""Reads a state dict from a file of any common kind, without running code in it."""

import re
import warnings
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from slotcli.errors import DataError, NoInputError

# In torch's error about a class that it does not load: "Unsupported global: GLOBAL a.b was not ..."
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The named tensors of a .pth, .pt, .ckpt, .safetensors or .npz file.

    Where a .pth or .ckpt holds more (a trainer's checkpoint), they are under its "state_dict" or
    "model".

    Raises NoInputError where there is no file, and DataError where it is of another kind, is
    damaged, needs code to be read, or holds anything but tensors.
    """
    if not path.is_file():
        raise NoInputError(f"{path}: there is no such file.", "Check the path.")
    # Any failure after this line is about the content, not about access to it.
    with path.open("rb"):
        pass
    readers = {
        ".pth": _read_torch,
        ".pt": _read_torch,
        ".ckpt": _read_torch,
        ".safetensors": load_file,
        ".npz": _read_npz,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: not a kind of weights file that can be imported.",
            f"Give one of: {', '.join(readers)}.",
        )
    try:
        content = reader(path)
    except UnpicklingError as error:
        if (unknown := _GLOBAL.search(str(error))) is not None:
            raise DataError(
                f"{path}: not plain weights: it needs {shorten(unknown[1], 100)}, and nothing in a "
                "foreign file is run.",
                f"If you trust it, save its weights alone: {_resaved(path)}",
            ) from None
        raise DataError(
            f"{path}: not plain weights: the file is damaged, or would run code when loaded.",
            "Fetch it again, or save its state_dict alone.",
        ) from None
    # The reader of a damaged archive can raise nearly anything.
    except Exception as error:
        reason = shorten((str(error).splitlines() or [type(error).__name__])[0], 200)
        raise DataError(f"{path}: unreadable: {reason}.", "Fetch it again.") from None
    return _state_dict(content, path)


def _resaved(path: Path) -> str:
    """A command that saves the state dict of a trainer's checkpoint without all else."""
    load = f"torch.load({path.name!r}, weights_only=False, map_location='cpu')"
    return f"python -c \"import torch; torch.save({load}['state_dict'], 'weights.pth')\""


def _read_torch(path: Path) -> Any:
    with warnings.catch_warnings():
        # It warns of unusual protocols, which are sound; it raises for those that it cannot read.
        warnings.simplefilter("ignore")
        return torch.load(path, weights_only=True, map_location="cpu")


def _read_npz(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, dict):
        nested = [content.get(key) for key in ("state_dict", "model")]
        content = next((part for part in nested if isinstance(part, dict)), content)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: holds no state dict.", "Save the model's state_dict.")
    for key, value in content.items():
        if not (isinstance(key, str) and isinstance(value, Tensor) and _in_memory(value)):
            raise DataError(
                f"{path}: {shorten(str(key), 200)} is not a plain tensor under a name.",
                "Save the model's state_dict alone.",
            )
    return dict(content)


def _in_memory(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_meta and not tensor.is_quantized
