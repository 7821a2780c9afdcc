"""`mask_argmax` in Triton: keeps each pixel's maximum and its slot in registers."""

# Launch options such as num_warps are no parameters of the kernel.
# pyright: reportCallIssue=false

from collections.abc import Iterator
from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from slotcli.kernels.compile_case import CompileCase

PIXELS = 512  # per program; 4 neighbours per lane, so that a warp writes a full cache line
NUM_WARPS = 4
# Machine instructions per loop iteration: four loads and their lerps for each of 4 pixels.
LOOP_BUDGET = 140


@no_type_check  # jaxtyping's import hook would wrap the function that Triton parses
@triton.jit
def _taps(place, ratio, length):
    """The two neighbours of a pixel's centre on the coarse axis, and the weight of the second."""
    centre = tl.maximum((place.to(tl.float32) + 0.5) * ratio - 0.5, 0.0)
    low = tl.minimum(centre.to(tl.int32), length - 1)
    return low, tl.minimum(low + 1, length - 1), centre - low.to(tl.float32)


@no_type_check
@triton.jit
def _mask_argmax(
    attention,
    labels,
    n,
    h,
    w,
    pixels,
    width,
    ratio_y,
    ratio_x,
    frame_stride,
    slot_stride,
    y_stride,
    x_stride,
    PIXELS: tl.constexpr,
):
    blocks = tl.cdiv(pixels, PIXELS)
    frame = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)
    inside = pixel < pixels
    y0, y1, fy = _taps(pixel // width, ratio_y, h)
    x0, x1, fx = _taps(pixel % width, ratio_x, w)
    top_left, top_right = y0 * y_stride + x0 * x_stride, y0 * y_stride + x1 * x_stride
    low_left, low_right = y1 * y_stride + x0 * x_stride, y1 * y_stride + x1 * x_stride

    best = tl.full([PIXELS], float("-inf"), tl.float32)
    winner = tl.zeros([PIXELS], tl.int32)
    for slot in range(n):
        image = attention + frame * frame_stride + slot * slot_stride
        top = tl.load(image + top_left, inside, 0.0).to(tl.float32) * (1.0 - fx)
        top += tl.load(image + top_right, inside, 0.0).to(tl.float32) * fx
        low = tl.load(image + low_left, inside, 0.0).to(tl.float32) * (1.0 - fx)
        low += tl.load(image + low_right, inside, 0.0).to(tl.float32) * fx
        share = top * (1.0 - fy) + low * fy
        better = share > best  # not >=: ties go to the first
        best = tl.where(better, share, best)
        winner = tl.where(better, slot, winner)
    tl.store(labels + frame * pixels + pixel, winner.to(tl.uint8), inside)


def mask_argmax(attention: Tensor, size: tuple[int, int]) -> Tensor:
    """`slotcli.kernels.mask_argmax`, for float32 and bfloat16."""
    (t, n, h, w), (height, width) = attention.shape, size
    labels = torch.empty((t, height, width), dtype=torch.uint8, device=attention.device)
    if labels.numel():
        _mask_argmax[(t * triton.cdiv(height * width, PIXELS),)](
            attention,
            labels,
            n,
            h,
            w,
            height * width,
            width,
            h / height,
            w / width,
            *attention.stride(),
            PIXELS=PIXELS,
            num_warps=NUM_WARPS,
            enable_fp_fusion=True,
        )
    return labels


def compile_cases() -> Iterator[CompileCase]:
    """A square video from a square grid, as in every published model."""
    for dtype in ("fp32", "bf16"):
        integers = ("n", "h", "w", "pixels", "width", "frame_stride", "slot_stride", "y_stride")
        yield CompileCase(
            name=f"mask_argmax {dtype}",
            kernel=_mask_argmax,
            signature={
                "attention": f"*{dtype}",
                "labels": "*u8",
                "ratio_y": "fp32",
                "ratio_x": "fp32",
            }
            | dict.fromkeys(integers, "i32"),
            constexprs={"x_stride": 1, "PIXELS": PIXELS},
            num_warps=NUM_WARPS,
            num_stages=3,
            aligned=frozenset({"attention", "labels", "pixels", "width", *integers[5:]}),
            loop_budget=LOOP_BUDGET,
        )
