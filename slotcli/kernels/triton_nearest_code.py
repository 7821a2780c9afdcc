"""`nearest_code` in Triton: each lane keeps the nearest code so far in registers."""

# Launch options such as num_warps are no parameters of the kernel.
# pyright: reportCallIssue=false

from collections.abc import Iterator
from dataclasses import dataclass
from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from slotcli.kernels.compile_case import CompileCase


@dataclass(frozen=True)
class Config:
    rows: int  # per program
    codes: int  # per loop iteration
    num_warps: int


# A single frame is too few rows to fill a GPU with large programs.
FEW_ROWS = 16384
# Sixteen scores per lane in both: with 32, register use limits the occupancy.
CONFIGS = {"few rows": Config(8, 256, 4), "many rows": Config(64, 32, 4)}
# Machine instructions per loop iteration: six per score of a lane, and those of the codes.
LOOP_BUDGET = 140


@no_type_check  # jaxtyping's import hook would wrap the function that Triton parses
@triton.jit
def _nearest_code(
    latents,
    codes,
    found,
    rows,
    k,
    latents_row,
    latents_channel,
    codes_row,
    codes_channel,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    CODES: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    lane = tl.arange(0, CODES)[None, :]
    z = latents + row * latents_row
    inside = row < rows
    z0 = tl.load(z, inside, 0.0).to(tl.float32)
    if CHANNELS > 1:
        z1 = tl.load(z + latents_channel, inside, 0.0).to(tl.float32)
    if CHANNELS > 2:
        z2 = tl.load(z + 2 * latents_channel, inside, 0.0).to(tl.float32)
    if CHANNELS > 3:
        z3 = tl.load(z + 3 * latents_channel, inside, 0.0).to(tl.float32)

    best = tl.full([ROWS, CODES], float("inf"), tl.float32)
    best_start = tl.zeros([ROWS, CODES], tl.int32)
    for start in range(0, k, CODES):
        e = codes + (start + lane) * codes_row
        known = start + lane < k
        e0 = tl.load(e, known, 0.0).to(tl.float32)
        norm = e0 * e0
        if CHANNELS > 1:
            e1 = tl.load(e + codes_channel, known, 0.0).to(tl.float32)
            norm += e1 * e1
        if CHANNELS > 2:
            e2 = tl.load(e + 2 * codes_channel, known, 0.0).to(tl.float32)
            norm += e2 * e2
        if CHANNELS > 3:
            e3 = tl.load(e + 3 * codes_channel, known, 0.0).to(tl.float32)
            norm += e3 * e3
        # argmin |z - e|^2 = argmin |e|^2 / 2 - z.e; padding never wins
        score = tl.where(known, norm * 0.5, float("inf")) - z0 * e0
        if CHANNELS > 1:
            score -= z1 * e1
        if CHANNELS > 2:
            score -= z2 * e2
        if CHANNELS > 3:
            score -= z3 * e3
        better = score < best  # not <=: ties go to the first
        best = tl.where(better, score, best)
        best_start = tl.where(better, start, best_start)

    least = tl.min(best, axis=1, keep_dims=True)
    first = tl.min(tl.where(best == least, best_start + lane, k), axis=1, keep_dims=True)
    tl.store(found + row, first.to(tl.int64), inside)


def nearest_code(latents: Tensor, codes: Tensor) -> Tensor:
    """`slotcli.kernels.nearest_code`, for float32 and bfloat16 of at most 4 channels."""
    rows, channels = latents.shape
    found = torch.empty(rows, dtype=torch.int64, device=latents.device)
    if rows:
        config = CONFIGS["few rows" if rows < FEW_ROWS else "many rows"]
        _nearest_code[(triton.cdiv(rows, config.rows),)](
            latents,
            codes,
            found,
            rows,
            len(codes),
            *latents.stride(),
            *codes.stride(),
            CHANNELS=channels,
            ROWS=config.rows,
            CODES=config.codes,
            num_warps=config.num_warps,
            enable_fp_fusion=True,
        )
    return found


def compile_cases() -> Iterator[CompileCase]:
    """Three channels, as in the published video codecs, and many codes."""
    for name, config in CONFIGS.items():
        for dtype in ("fp32", "bf16"):
            yield CompileCase(
                name=f"nearest_code {dtype}, {name}",
                kernel=_nearest_code,
                signature={
                    "latents": f"*{dtype}",
                    "codes": "*fp32",
                    "found": "*i64",
                    "rows": "i32",
                    "k": "i32",
                    "latents_row": "i32",
                    "codes_row": "i32",
                },
                constexprs={
                    "latents_channel": 1,
                    "codes_channel": 1,
                    "CHANNELS": 3,
                    "ROWS": config.rows,
                    "CODES": config.codes,
                },
                num_warps=config.num_warps,
                num_stages=3,
                aligned=frozenset({"latents", "codes", "found", "rows", "k"}),
                loop_budget=LOOP_BUDGET,
            )
