"""Maps our name of every tensor of a model to the authors'."""

from collections.abc import Mapping
from textwrap import shorten

from slotcli.build import build_shapes
from slotcli.errors import ConfigError
from slotcli.published.tables import UNET, module_table
from slotcli.spec import CodecModelSpec, SlotModelSpec

AVERAGES = "dm_decoder.model_ema."


def published_names(spec: SlotModelSpec | CodecModelSpec) -> dict[str, str]:
    """Our name to the authors' for every tensor of a model.

    Raises ConfigError where the spec has parts that the authors' models lack.
    """
    modules = module_table(spec)
    names = {own: _translate(own, modules) for own in model_shapes(spec)}
    strangers = sorted(own for own, name in names.items() if name is None)
    if strangers:
        raise ConfigError(
            f"{spec.name}: the authors' models have no {first_names(strangers)}.",
            "Import with the definition of a published model.",
        )
    return {own: name for own, name in names.items() if name is not None}


def average_names(names: Mapping[str, str]) -> dict[str, str]:
    """The authors' names of the U-Net's tensors, to those of their moving averages.

    The averages are buffers of one module, whose names cannot contain a dot.
    """
    inner = UNET.removeprefix("dm_decoder.model.")
    return {
        name: AVERAGES + (inner + name.removeprefix(UNET)).replace(".", "")
        for name in names.values()
        if name.startswith(UNET)
    }


def model_shapes(spec: SlotModelSpec | CodecModelSpec) -> dict[str, list[int]]:
    """Our name to the shape of every tensor of a model, without allocating its weights."""
    return {name: list(tensor.shape) for name, tensor in build_shapes(spec).state_dict().items()}


def first_names(names: list[str]) -> str:
    """The first ten names, long ones truncated, and the number of the others."""
    shown = ", ".join(shorten(name, 100) for name in names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown


def _translate(name: str, modules: Mapping[str, str]) -> str | None:
    head, tail = name, ""
    while head not in modules:
        head, dot, last = head.rpartition(".")
        tail = dot + last + tail
        if not head:
            return None
    return modules[head] + tail
