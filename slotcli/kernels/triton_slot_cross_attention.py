"""Absorbed cross-attention in Triton: all heads at once; reads and writes the map once."""

from collections.abc import Iterator
from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from slotcli.kernels import dispatch
from slotcli.kernels.compile_case import CompileCase
from slotcli.kernels.slot_cross_attention import padded_sizes


class Config(NamedTuple):
    block: int  # positions per program
    channels: int  # per loop iteration
    num_warps: int
    num_stages: int


# By weights per position (padded heads times padded slots) and dtype of the map.
CONFIGS = {
    (128, torch.bfloat16): Config(64, 64, 8, 2),
    (256, torch.bfloat16): Config(32, 64, 8, 2),
    (128, torch.float32): Config(32, 32, 8, 2),
    (256, torch.float32): Config(16, 32, 4, 2),
}


@triton.jit
@no_type_check
def cross_attention_kernel(
    x,
    queries,
    offset,
    values,
    y,
    positions,
    stride_b,
    stride_p,
    eps,
    C: tl.constexpr,
    N: tl.constexpr,
    HEADS: tl.constexpr,
    NP: tl.constexpr,
    HP: tl.constexpr,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
    PRECISION: tl.constexpr,
    DT: tl.constexpr,
):
    b = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    d = tl.arange(0, CHANNELS)
    inside = (p < positions)[:, None]
    places = x + b * stride_b + p[:, None] * stride_p + d[None]
    # Relative to each position's first value, so that a large mean cancels before it is squared.
    first = tl.load(x + b * stride_b + p * stride_p, mask=p < positions, other=0).to(tl.float32)
    sums, squares = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    for start in range(0, C, CHANNELS):
        apart = tl.load(places + start, mask=inside, other=0).to(tl.float32) - first[:, None]
        sums += tl.sum(apart, 1)
        squares += tl.sum(apart * apart, 1)
    sums /= C
    centre = (first + sums)[:, None]
    scale = 1 / tl.sqrt(tl.maximum(squares / C - sums * sums, 0) + eps)[:, None]

    # Weights are grouped by head for the softmax, vectors by slot.
    m = tl.arange(0, HP * NP)
    head, slot = m // NP, m % NP
    real = (head < HEADS) & (slot < N)
    vectors = (b * N * HEADS + slot * HEADS + head)[:, None] * C + d[None]
    logits = tl.zeros((BLOCK, HP * NP), tl.float32)
    for start in range(0, C, CHANNELS):
        part = tl.load(places + start, mask=inside, other=0).to(tl.float32)
        query = tl.load(queries + vectors + start, mask=real[:, None], other=0).to(DT)
        normed = ((part - centre) * scale).to(DT)
        logits = tl.dot(normed, tl.trans(query), logits, input_precision=PRECISION)
    constant = tl.load(offset + b * N * HEADS + slot * HEADS + head, mask=real, other=0)
    logits += constant.to(tl.float32)[None]
    logits = tl.reshape(tl.where((slot < N)[None], logits, -float("inf")), (BLOCK, HP, NP))
    weights = tl.exp(logits - tl.max(logits, 2)[:, :, None])
    weights /= tl.sum(weights, 2)[:, :, None]
    weights = tl.reshape(weights, (BLOCK, HP * NP)).to(DT)

    out = y + b * positions * C + p[:, None] * C + d[None]
    for start in range(0, C, CHANNELS):
        value = tl.load(values + vectors + start, mask=real[:, None], other=0).to(DT)
        part = tl.load(places + start, mask=inside, other=0).to(tl.float32)
        part = tl.dot(weights, value, part, input_precision=PRECISION)
        tl.store(out + start, part, mask=inside)


def forward(
    x: Tensor, queries: Tensor, offset: Tensor, values: Tensor, heads: int, eps: float
) -> Tensor:
    """Triton implementation of `slotcli::slot_cross_attention`."""
    x = x if x.stride(2) == 1 else x.contiguous()
    (b, p, c), slots = x.shape, queries.shape[1] // heads
    y = x.new_empty((b, p, c))
    constants = _constants(x.dtype, c, slots, heads)
    with torch.cuda.device_of(x):
        cross_attention_kernel[(b, triton.cdiv(p, constants["BLOCK"]))](
            x,
            queries.contiguous(),
            offset.contiguous(),
            values.contiguous(),
            y,
            p,
            x.stride(0),
            x.stride(1),
            eps,
            **constants,
        )
    return y


def _constants(dtype: torch.dtype, channels: int, slots: int, heads: int) -> dict[str, Any]:
    padded_slots, padded_heads = padded_sizes(slots, heads)
    config = CONFIGS[max(128, padded_slots * padded_heads), dtype]
    exact = torch.get_float32_matmul_precision() == "highest"
    return {
        "C": channels,
        "N": slots,
        "HEADS": heads,
        "NP": padded_slots,
        "HP": padded_heads,
        "BLOCK": config.block,
        "CHANNELS": config.channels,
        "PRECISION": "ieee" if exact else "tf32",
        # The interpreter would multiply the bit patterns of bfloat16.
        "DT": tl.bfloat16
        if dtype == torch.bfloat16 and not dispatch.is_interpreted()
        else tl.float32,
        "num_warps": config.num_warps,
        "num_stages": config.num_stages,
    }


def compile_cases() -> Iterator[CompileCase]:
    """The published levels; the middle one has padded heads."""
    for dtype in (torch.bfloat16, torch.float32):
        for channels, slots in ((256, 15), (384, 15), (512, 15)):
            yield _case(dtype, channels, slots)


def _case(dtype: torch.dtype, channels: int, slots: int) -> CompileCase:
    constants = _constants(dtype, channels, slots, channels // 32)
    tensors = {"x", "queries", "offset", "values", "y"}
    kind = {"eps": "fp32"} | dict.fromkeys(tensors, "*bf16" if dtype == torch.bfloat16 else "*fp32")
    names = cross_attention_kernel.arg_names
    signature = {name: kind.get(name, "i32") for name in names if name not in constants}
    return CompileCase(
        name=f"cross_attention {channels} {slots} {dtype}",
        kernel=cross_attention_kernel,
        signature=signature,
        constexprs={name: constants[name] for name in names if name in constants},
        num_warps=constants["num_warps"],
        num_stages=constants["num_stages"],
        aligned=frozenset(signature) - {"eps"},
        wide=frozenset(("load", "store")),
    )
