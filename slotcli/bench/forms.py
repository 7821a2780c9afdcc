"""The variants that are timed against each other: form (ours, plain, compiled) and precision."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import device as Device

from slotcli.compute.compiler import why_not_compiled
from slotcli.compute.precision import Precision, computes_in_bf16

Form = Literal["ours", "plain", "compiled"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Variant:
    form: Form
    precision: Precision

    @property
    def name(self) -> str:
        return f"{self.form} {self.precision}"


BASELINE = Variant("plain", "fp32")


def variants_here(device: Device, *, compiled: bool) -> tuple[list[Variant], dict[str, str]]:
    """The variants that can run on a device, and by the names of the others the reasons."""
    whys: dict[Form, str | None] = {
        "ours": None,
        "plain": None,
        "compiled": why_not_compiled(device) if compiled else "It was not asked for (--compile).",
    }
    narrow = None if computes_in_bf16(device) else "The device has no instructions for bfloat16."
    variants, reasons = [], {}
    for precision in DTYPES:
        for form, why in whys.items():
            variant = Variant(form, precision)
            reason = why or (narrow if precision == "bf16" else None)
            if reason is None:
                variants.append(variant)
            else:
                reasons[variant.name] = reason
    return variants, reasons
