"""Fused group norm, shift, residual and activation in Triton, on maps in channels_last.

Forward and backward have the same three steps: sums per channel over splits of a frame's
positions, a small kernel that reduces them to the statistics of a group, and one elementwise pass.
The order of summation is fixed, so that results are bitwise reproducible.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from slotcli.kernels.compile_case import CompileCase


class Config(NamedTuple):
    block: int  # positions per tile
    channels: int  # per tile, at most
    num_warps: int


# By kernel and dtype of the map.
CONFIGS = {
    ("sum", torch.float32): Config(32, 64, 4),
    ("sum", torch.bfloat16): Config(64, 64, 4),
    ("apply", torch.float32): Config(32, 64, 4),
    ("apply", torch.bfloat16): Config(64, 64, 4),
    ("backward_sum", torch.float32): Config(32, 64, 4),
    ("backward_sum", torch.bfloat16): Config(32, 64, 4),
    ("backward_apply", torch.float32): Config(32, 64, 4),
    ("backward_apply", torch.bfloat16): Config(32, 64, 4),
}
_ONE_WARP = {"num_warps": 1}  # for kernels over the channels of a single group


@triton.jit
@no_type_check
def _channels(channels, CHANNELS: tl.constexpr):
    """The channels of this program, and a mask of those that exist."""
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    return c, c < channels


@triton.jit
@no_type_check
def _places(start, c, real, positions, channels, BLOCK: tl.constexpr):
    """Offsets of a tile's elements within its frame, and a mask of those that exist."""
    p = start + tl.arange(0, BLOCK)
    return p[:, None] * channels + c[None], (p < positions)[:, None] & real[None]


@triton.jit
@no_type_check
def _activated(z, ACTIVATION: tl.constexpr):
    if ACTIVATION == "silu":
        z = z / (1 + tl.exp(-z))
    elif ACTIVATION == "relu":
        z = tl.maximum(z, 0)
    return z


@triton.jit
@no_type_check
def _slope(z, ACTIVATION: tl.constexpr):
    """The activation's derivative."""
    if ACTIVATION == "silu":
        gate = 1 / (1 + tl.exp(-z))
        slope = gate * (1 + z * (1 - gate))
    elif ACTIVATION == "relu":
        slope = tl.where(z > 0, 1.0, 0.0)
    else:
        slope = tl.full(z.shape, 1, tl.float32)
    return slope


@triton.jit
@no_type_check
def sum_kernel(
    x, partials, positions, channels, stretch, BLOCK: tl.constexpr, CHANNELS: tl.constexpr
):
    b, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    frame, first = x + b * positions * channels, split * stretch
    c, real = _channels(channels, CHANNELS)
    # Relative to the channel's first value, so that a large mean cancels before it is squared.
    centre = tl.load(frame + c, mask=real, other=0).to(tl.float32)
    sums = tl.zeros((BLOCK, CHANNELS), tl.float32)
    squares = tl.zeros((BLOCK, CHANNELS), tl.float32)
    for start in range(first, tl.minimum(first + stretch, positions), BLOCK):
        places, inside = _places(start, c, real, positions, channels, BLOCK)
        values = tl.load(frame + places, mask=inside, other=0).to(tl.float32)
        values = tl.where(inside, values - centre[None], 0)
        sums += values
        squares += values * values
    part = partials + (b * tl.num_programs(1) + split) * 2 * channels + c
    tl.store(part, tl.sum(sums, 0), mask=real)
    tl.store(part + channels, tl.sum(squares, 0), mask=real)


@triton.jit
@no_type_check
def statistics_kernel(
    x,
    partials,
    weight,
    bias,
    shift,
    mean,
    rstd,
    scale,
    offset,
    positions,
    channels,
    splits,
    eps,
    GROUP: tl.constexpr,
    PADDED: tl.constexpr,
    WITH_SHIFT: tl.constexpr,
):
    b, g = tl.program_id(0).to(tl.int64), tl.program_id(1)
    j = tl.arange(0, PADDED)
    c, real = g * GROUP + j, j < GROUP
    sums, squares = tl.zeros((PADDED,), tl.float32), tl.zeros((PADDED,), tl.float32)
    for split in range(splits):
        part = partials + (b * splits + split) * 2 * channels + c
        sums += tl.load(part, mask=real, other=0)
        squares += tl.load(part + channels, mask=real, other=0)
    moved = tl.zeros((PADDED,), tl.float32)
    if WITH_SHIFT:
        moved = tl.load(shift + b * channels + c, mask=real, other=0).to(tl.float32)
    centre = tl.load(x + b * positions * channels + c, mask=real, other=0).to(tl.float32)
    means = centre + sums / positions + moved
    # Squared deviations from each channel's mean, then those of the means from the group's mean.
    squares -= sums * sums / positions
    average = tl.sum(means, 0) / GROUP
    apart = tl.where(real, means - average, 0)
    variance = tl.sum(squares + apart * apart * positions, 0) / (GROUP * positions)
    scatter = 1 / tl.sqrt(tl.maximum(variance, 0) + eps)
    group = b * tl.num_programs(1) + g
    tl.store(mean + group, average)
    tl.store(rstd + group, scatter)
    slope = scatter * tl.load(weight + c, mask=real, other=0).to(tl.float32)
    start = tl.load(bias + c, mask=real, other=0).to(tl.float32)
    tl.store(scale + b * channels + c, slope, mask=real)
    tl.store(offset + b * channels + c, start + (moved - average) * slope, mask=real)


@triton.jit
@no_type_check
def apply_kernel(
    x,
    residual,
    scale,
    offset,
    y,
    positions,
    channels,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    WITH_RESIDUAL: tl.constexpr,
):
    b, start = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK
    c, real = _channels(channels, CHANNELS)
    places, inside = _places(start, c, real, positions, channels, BLOCK)
    slope = tl.load(scale + b * channels + c, mask=real, other=0)
    constant = tl.load(offset + b * channels + c, mask=real, other=0)
    frame = b * positions * channels
    z = tl.load(x + frame + places, mask=inside, other=0).to(tl.float32) * slope[None]
    z += constant[None]
    if WITH_RESIDUAL:
        z += tl.load(residual + frame + places, mask=inside, other=0).to(tl.float32)
    tl.store(y + frame + places, _activated(z, ACTIVATION), mask=inside)


@triton.jit
@no_type_check
def _by_channel(
    b, c, real, mean, rstd, shift, channels, GROUP: tl.constexpr, WITH_SHIFT: tl.constexpr
):
    """Offset to subtract from a channel and factor to multiply it by in normalisation."""
    group = b * (channels // GROUP) + c // GROUP
    centre = tl.load(mean + group, mask=real, other=0)
    if WITH_SHIFT:
        centre -= tl.load(shift + b * channels + c, mask=real, other=0).to(tl.float32)
    return centre, tl.load(rstd + group, mask=real, other=0)


@triton.jit
@no_type_check
def _backward_tile(
    grad,
    x,
    residual,
    places,
    inside,
    centre,
    scatter,
    w,
    constant,
    ACTIVATION: tl.constexpr,
    WITH_RESIDUAL: tl.constexpr,
):
    """The normalised input, and the gradient before the activation; 0 outside."""
    normed = tl.load(x + places, mask=inside, other=0).to(tl.float32)
    normed = tl.where(inside, (normed - centre[None]) * scatter[None], 0)
    z = normed * w[None] + constant[None]
    if WITH_RESIDUAL:
        z += tl.load(residual + places, mask=inside, other=0).to(tl.float32)
    to_z = tl.load(grad + places, mask=inside, other=0).to(tl.float32) * _slope(z, ACTIVATION)
    return normed, to_z


@triton.jit
@no_type_check
def backward_sum_kernel(
    grad,
    x,
    residual,
    shift,
    weight,
    bias,
    mean,
    rstd,
    partials,
    positions,
    channels,
    stretch,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    WITH_SHIFT: tl.constexpr,
    WITH_RESIDUAL: tl.constexpr,
):
    b, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    frame, first = b * positions * channels, split * stretch
    c, real = _channels(channels, CHANNELS)
    centre, scatter = _by_channel(b, c, real, mean, rstd, shift, channels, GROUP, WITH_SHIFT)
    w = tl.load(weight + c, mask=real, other=0).to(tl.float32)
    constant = tl.load(bias + c, mask=real, other=0).to(tl.float32)
    to_bias = tl.zeros((BLOCK, CHANNELS), tl.float32)
    to_weight = tl.zeros((BLOCK, CHANNELS), tl.float32)
    totals = tl.zeros((BLOCK, CHANNELS), tl.float32)
    for start in range(first, tl.minimum(first + stretch, positions), BLOCK):
        places, inside = _places(start, c, real, positions, channels, BLOCK)
        normed, to_z = _backward_tile(
            grad + frame,
            x + frame,
            residual + frame,
            places,
            inside,
            centre,
            scatter,
            w,
            constant,
            ACTIVATION,
            WITH_RESIDUAL,
        )
        to_bias += to_z
        to_weight += to_z * normed
        totals += normed
    part = partials + (b * tl.num_programs(1) + split) * 3 * channels + c
    tl.store(part, tl.sum(to_bias, 0), mask=real)
    tl.store(part + channels, tl.sum(to_weight, 0), mask=real)
    tl.store(part + 2 * channels, tl.sum(totals, 0), mask=real)


@triton.jit
@no_type_check
def backward_statistics_kernel(
    partials,
    weight,
    rstd,
    to_bias,
    to_weight,
    to_shift,
    group_mean,
    group_slope,
    positions,
    channels,
    splits,
    GROUP: tl.constexpr,
    PADDED: tl.constexpr,
):
    b, g = tl.program_id(0).to(tl.int64), tl.program_id(1)
    j = tl.arange(0, PADDED)
    c, real = g * GROUP + j, j < GROUP
    plain, product = tl.zeros((PADDED,), tl.float32), tl.zeros((PADDED,), tl.float32)
    normed = tl.zeros((PADDED,), tl.float32)
    for split in range(splits):
        part = partials + (b * splits + split) * 3 * channels + c
        plain += tl.load(part, mask=real, other=0)
        product += tl.load(part + channels, mask=real, other=0)
        normed += tl.load(part + 2 * channels, mask=real, other=0)
    tl.store(to_bias + b * channels + c, plain, mask=real)
    tl.store(to_weight + b * channels + c, product, mask=real)
    # Means over the group of the normalised input's gradient, and of its product with the input.
    w = tl.load(weight + c, mask=real, other=0).to(tl.float32)
    average = tl.sum(plain * w, 0) / (GROUP * positions)
    slope = tl.sum(product * w, 0) / (GROUP * positions)
    group = b * tl.num_programs(1) + g
    tl.store(group_mean + group, average)
    tl.store(group_slope + group, slope)
    total = plain * w - average * positions - slope * normed
    tl.store(to_shift + b * channels + c, total * tl.load(rstd + group), mask=real)


@triton.jit
@no_type_check
def backward_apply_kernel(
    grad,
    x,
    residual,
    shift,
    weight,
    bias,
    mean,
    rstd,
    group_mean,
    group_slope,
    to_x,
    to_residual,
    positions,
    channels,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    WITH_SHIFT: tl.constexpr,
    WITH_RESIDUAL: tl.constexpr,
):
    b, start = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK
    frame = b * positions * channels
    c, real = _channels(channels, CHANNELS)
    places, inside = _places(start, c, real, positions, channels, BLOCK)
    centre, scatter = _by_channel(b, c, real, mean, rstd, shift, channels, GROUP, WITH_SHIFT)
    w = tl.load(weight + c, mask=real, other=0).to(tl.float32)
    constant = tl.load(bias + c, mask=real, other=0).to(tl.float32)
    normed, to_z = _backward_tile(
        grad + frame,
        x + frame,
        residual + frame,
        places,
        inside,
        centre,
        scatter,
        w,
        constant,
        ACTIVATION,
        WITH_RESIDUAL,
    )
    if WITH_RESIDUAL:
        tl.store(to_residual + frame + places, to_z, mask=inside)
    group = b * (channels // GROUP) + c // GROUP
    average = tl.load(group_mean + group, mask=real, other=0)
    slope = tl.load(group_slope + group, mask=real, other=0)
    to_normed = to_z * w[None] - average[None] - normed * slope[None]
    tl.store(to_x + frame + places, to_normed * scatter[None], mask=inside)


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    shift: Tensor | None,
    residual: Tensor | None,
    groups: int,
    eps: float,
    activation: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Triton implementation of `slotcli::group_norm_act`, for dense maps in channels_last."""
    (b, c), positions, group = x.shape[:2], x.shape[2] * x.shape[3], x.shape[1] // groups
    mean, rstd = (x.new_empty((b, groups), dtype=torch.float32) for _ in range(2))
    scale, offset = (x.new_empty((b, c), dtype=torch.float32) for _ in range(2))
    y = torch.empty_like(x, memory_format=torch.channels_last)
    config = _config("sum", x)
    splits, stretch = _splits(b * triton.cdiv(c, config.channels), positions, config.block)
    partials = x.new_empty((b, splits, 2, c), dtype=torch.float32)
    with torch.cuda.device_of(x):
        sum_kernel[(b, splits, triton.cdiv(c, config.channels))](
            x, partials, positions, c, stretch, **_tile_constants(config)
        )
        statistics_kernel[(b, groups)](
            x,
            partials,
            weight.contiguous(),
            bias.contiguous(),
            x if shift is None else shift.contiguous(),
            mean,
            rstd,
            scale,
            offset,
            positions,
            c,
            splits,
            eps,
            GROUP=group,
            PADDED=triton.next_power_of_2(group),
            WITH_SHIFT=shift is not None,
            **_ONE_WARP,
        )
        config = _config("apply", x)
        apply_kernel[_elementwise(x, config)](
            x,
            x if residual is None else residual,
            scale,
            offset,
            y,
            positions,
            c,
            ACTIVATION=activation,
            WITH_RESIDUAL=residual is not None,
            **_tile_constants(config),
        )
    return y, mean, rstd


def backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    shift: Tensor | None,
    residual: Tensor | None,
    mean: Tensor,
    rstd: Tensor,
    activation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Triton implementation of `slotcli::group_norm_act_backward`, for maps as in `forward`."""
    (b, c), positions, groups = x.shape[:2], x.shape[2] * x.shape[3], mean.shape[1]
    to_bias, to_weight, to_shift = (x.new_empty((b, c), dtype=torch.float32) for _ in range(3))
    group_mean, group_slope = (torch.empty_like(mean) for _ in range(2))
    to_x = torch.empty_like(x, memory_format=torch.channels_last)
    to_residual = None if residual is None else torch.empty_like(to_x)
    config = _config("backward_sum", x)
    splits, stretch = _splits(b * triton.cdiv(c, config.channels), positions, config.block)
    partials = x.new_empty((b, splits, 3, c), dtype=torch.float32)
    weight = weight.contiguous()
    inputs = (
        grad,
        x,
        x if residual is None else residual,
        x if shift is None else shift.contiguous(),
        weight,
        bias.contiguous(),
        mean,
        rstd,
    )
    kind = {
        "GROUP": c // groups,
        "ACTIVATION": activation,
        "WITH_SHIFT": shift is not None,
        "WITH_RESIDUAL": residual is not None,
    }
    with torch.cuda.device_of(x):
        backward_sum_kernel[(b, splits, triton.cdiv(c, config.channels))](
            *inputs, partials, positions, c, stretch, **kind, **_tile_constants(config)
        )
        backward_statistics_kernel[(b, groups)](
            partials,
            weight,
            rstd,
            to_bias,
            to_weight,
            to_shift,
            group_mean,
            group_slope,
            positions,
            c,
            splits,
            GROUP=c // groups,
            PADDED=triton.next_power_of_2(c // groups),
            **_ONE_WARP,
        )
        config = _config("backward_apply", x)
        backward_apply_kernel[_elementwise(x, config)](
            *inputs,
            group_mean,
            group_slope,
            to_x,
            to_x if to_residual is None else to_residual,
            positions,
            c,
            **kind,
            **_tile_constants(config),
        )
    if shift is None:
        to_shift = None
    return to_x, to_weight.sum(0), to_bias.sum(0), to_shift, to_residual


def _config(kernel: str, x: Tensor) -> Config:
    """The table's configuration, with no more channels than the map has."""
    config = CONFIGS[kernel, x.dtype]
    return config._replace(channels=min(config.channels, triton.next_power_of_2(x.shape[1])))


def _tile_constants(config: Config) -> dict[str, int]:
    return {"BLOCK": config.block, "CHANNELS": config.channels, "num_warps": config.num_warps}


def _elementwise(x: Tensor, config: Config) -> tuple[int, int, int]:
    b, c, h, w = x.shape
    return b, triton.cdiv(h * w, config.block), triton.cdiv(c, config.channels)


def _splits(programs: int, positions: int, block: int) -> tuple[int, int]:
    """Number of splits of the positions, and positions per split, a multiple of `block`.

    Enough splits for four programs on each of a large GPU's 132 multiprocessors.
    """
    splits = max(1, min(triton.cdiv(528, programs), triton.cdiv(positions, block)))
    stretch = triton.cdiv(triton.cdiv(positions, splits), block) * block
    return triton.cdiv(positions, stretch), stretch


def compile_cases() -> Iterator[CompileCase]:
    """Groups of 8 of 256 channels, with all optional inputs, for each activation in use."""
    for dtype, activation in ((torch.bfloat16, "silu"), (torch.float32, "relu")):
        yield _case("sum", sum_kernel, dtype, activation)
        yield _case("apply", apply_kernel, dtype, activation)
        yield _case("backward_sum", backward_sum_kernel, dtype, activation)
        yield _case("backward_apply", backward_apply_kernel, dtype, activation)
    yield _case("statistics", statistics_kernel, torch.bfloat16, "silu")
    yield _case("backward_statistics", backward_statistics_kernel, torch.bfloat16, "silu")


def _case(name: str, kernel: Any, dtype: torch.dtype, activation: str) -> CompileCase:
    config = CONFIGS.get((name, dtype), Config(1, 1, 1))
    possible = {
        "GROUP": 8,
        "PADDED": 8,
        "BLOCK": config.block,
        "CHANNELS": config.channels,
        "ACTIVATION": activation,
        "WITH_SHIFT": True,
        "WITH_RESIDUAL": True,
    }
    like_x = {"x", "y", "grad", "residual", "shift", "to_x", "to_residual"}
    kind = {"positions": "i32", "channels": "i32", "stretch": "i32", "splits": "i32", "eps": "fp32"}
    kind |= dict.fromkeys(like_x, "*bf16" if dtype == torch.bfloat16 else "*fp32")
    signature = {
        argument: kind.get(argument, "*fp32")
        for argument in kernel.arg_names
        if argument not in possible
    }
    wide = ("load", "store") if "apply" in name else ("load",) if "sum" in name else ()
    return CompileCase(
        name=f"{name} {dtype} {activation}",
        kernel=kernel,
        signature=signature,
        constexprs={key: possible[key] for key in kernel.arg_names if key in possible},
        num_warps=config.num_warps,
        num_stages=3,
        aligned=frozenset(signature) - {"eps", "splits"},
        wide=frozenset(wide),
    )
