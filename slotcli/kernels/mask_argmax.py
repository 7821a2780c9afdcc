"""Pixel labels from attention on a coarser grid, without a full-size map per slot."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from slotcli.kernels import cpu_mask_argmax, dispatch, reference
from slotcli.types import Size


def mask_argmax(attention: Float[Tensor, "t n h w"], size: Size) -> UInt8[Tensor, "t H W"]:
    """Index of the winning slot at each pixel of `size`, by bilinear interpolation of attention.

    Upsamples or downsamples as F.interpolate with align_corners=False and antialias=False, in
    float32 for narrower inputs. Ties go to the first slot; where two slots are within rounding,
    devices and backends may differ. At most 255 slots. Has no gradient.
    """
    return torch.ops.slotcli.mask_argmax(attention.detach(), size)


torch.library.define("slotcli::mask_argmax", "(Tensor attention, SymInt[2] size) -> Tensor")


@torch.library.impl("slotcli::mask_argmax", ("cpu", "cuda"))
def _mask_argmax(attention: Tensor, size: list[int]) -> Tensor:
    height, width = size
    unsupported = None
    if attention.dtype not in (torch.float32, torch.bfloat16):
        unsupported = f"it has no kernel for {attention.dtype}"
    if dispatch.takes_triton("mask_argmax", attention.device, unsupported):
        from slotcli.kernels import triton_mask_argmax

        return triton_mask_argmax.mask_argmax(attention, (height, width))
    if attention.is_cpu and dispatch.backend() != "reference":
        return cpu_mask_argmax.mask_argmax(attention, (height, width))
    return reference.mask_argmax(attention, (height, width))


@torch.library.register_fake("slotcli::mask_argmax")
def _fake(attention: Tensor, size: list[int | torch.SymInt]) -> Tensor:
    return attention.new_empty((attention.shape[0], *size), dtype=torch.uint8)
