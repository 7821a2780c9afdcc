"""Networks in bfloat16: inputs are cast to it, outputs back to their original dtype.

Whole networks are converted, not single operations as under autocast: on a CPU, casting the
weights at each call would cost more than half precision gains.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Precision = Literal["fp32", "bf16"]
TrainPrecision = Literal["fp32", "bf16", "fp16"]


def to_bf16(*networks: nn.Module) -> None:
    """Converts networks to bfloat16 and channels_last, in place."""
    for network in networks:
        network.to(torch.bfloat16).to(memory_format=torch.channels_last)


def cast_like(network: nn.Module, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Casts x to the dtype of the network's weights."""
    return x.to(next(network.parameters()).dtype)


def precision_of(network: nn.Module) -> Precision:
    """Precision of a network's weights."""
    return "bf16" if next(network.parameters()).dtype == torch.bfloat16 else "fp32"


def auto_precision(device: torch.device) -> TrainPrecision:
    """Default training precision on a device."""
    return "bf16" if device.type == "cuda" and computes_in_bf16(device) else "fp32"


def computes_in_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; without them it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
