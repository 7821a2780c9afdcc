"""The slot read in Triton: one pass over the features forward, one backward.

A program processes one split of a frame's positions; a second kernel sums the splits in order, so
that results are bitwise reproducible.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from slotcli.kernels import dispatch
from slotcli.kernels.compile_case import CompileCase
from slotcli.kernels.reference import READ_EPS


class Config(NamedTuple):
    block: int  # positions per tile
    num_warps: int
    num_stages: int


# By kernel and dtype of the features.
CONFIGS = {
    ("statistics", torch.float32): Config(32, 4, 1),
    ("statistics", torch.bfloat16): Config(32, 4, 1),
    ("forward", torch.float32): Config(16, 4, 1),
    ("forward", torch.bfloat16): Config(64, 4, 2),
    ("backward", torch.float32): Config(16, 8, 2),
    ("backward", torch.bfloat16): Config(32, 4, 2),
}


@no_type_check  # jaxtyping's import hook would wrap the function that Triton parses
@triton.jit
def statistics_kernel(
    inputs, mean, rstd, rows, eps, D: tl.constexpr, DP: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    d = tl.arange(0, DP)
    inside = (row < rows)[:, None] & (d < D)[None]
    x = tl.load(inputs + row[:, None] * D + d[None], mask=inside, other=0).to(tl.float32)
    centre = tl.sum(x, 1) / D
    x = tl.where(inside, x - centre[:, None], 0)
    tl.store(mean + row, centre, mask=row < rows)
    tl.store(rstd + row, 1 / tl.sqrt(tl.sum(x * x, 1) / D + eps), mask=row < rows)


@no_type_check
@triton.jit
def _load_rows(matrix, rows, inside, D: tl.constexpr, D1: tl.constexpr, D2: tl.constexpr):
    """Rows of a matrix of D columns in two parts: 192 columns are 128 + 64, instead of 256."""
    d1, d2 = tl.arange(0, D1), D1 + tl.arange(0, D2)
    places = matrix + rows[:, None]
    first = tl.load(places + d1[None], mask=inside[:, None] & (d1 < D)[None], other=0)
    second = tl.load(places + d2[None], mask=inside[:, None] & (d2 < D)[None], other=0)
    return first, second


@no_type_check
@triton.jit
def _store_part(matrix, rows, inside, part, D: tl.constexpr, FROM: tl.constexpr):
    d = FROM + tl.arange(0, part.shape[1])
    tl.store(matrix + rows[:, None] + d[None], part, mask=inside[:, None] & (d < D)[None])


@no_type_check
@triton.jit
def _sum_rows(first, second):
    return tl.sum(first.to(tl.float32), 1) + tl.sum(second.to(tl.float32), 1)


@no_type_check
@triton.jit
def _dots(x1, x2, centre, scale, v1, v2, sums, PRECISION: tl.constexpr):
    """Dot products of the normalised features with vectors [NP, D]."""
    raw = tl.dot(x1, tl.trans(v1), input_precision=PRECISION)
    raw = tl.dot(x2, tl.trans(v2), raw, input_precision=PRECISION)
    return (raw - centre[:, None] * sums[None]) * scale[:, None]


@no_type_check
@triton.jit
def _softmax(logits):
    exps = tl.exp(logits - tl.max(logits, 1)[:, None])
    return exps / tl.sum(exps, 1)[:, None]


@no_type_check
@triton.jit
def forward_kernel(
    inputs,
    mean,
    rstd,
    queries,
    bias,
    attention,
    partial_sums,
    partial_mass,
    positions,
    stretch,
    stride_b,
    stride_p,
    stride_mean,
    stride_rstd,
    N: tl.constexpr,
    D: tl.constexpr,
    NP: tl.constexpr,
    D1: tl.constexpr,
    D2: tl.constexpr,
    BLOCK: tl.constexpr,
    EPS: tl.constexpr,
    WITH_ATTENTION: tl.constexpr,
    PRECISION: tl.constexpr,
    DT: tl.constexpr,
):
    b, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    n = tl.arange(0, NP)
    real = n < N
    q1, q2 = _load_rows(queries + b * N * D, n * D, real, D, D1, D2)
    q1, q2 = q1.to(DT), q2.to(DT)
    q_sums = _sum_rows(q1, q2)
    # Padding slots have a logit of -inf, and so no attention.
    c = tl.load(bias + b * N + n, mask=real, other=-float("inf"))

    sums1, sums2 = tl.zeros((NP, D1), tl.float32), tl.zeros((NP, D2), tl.float32)
    mass, centres = tl.zeros((BLOCK, NP), tl.float32), tl.zeros((BLOCK, NP), tl.float32)
    first = split * stretch
    for start in range(first, tl.minimum(first + stretch, positions), BLOCK):
        p = start + tl.arange(0, BLOCK)
        inside = p < positions
        x1, x2 = _load_rows(inputs + b * stride_b, p * stride_p, inside, D, D1, D2)
        x1, x2 = x1.to(DT), x2.to(DT)
        centre = tl.load(mean + b * stride_mean + p, mask=inside, other=0)
        scale = tl.load(rstd + b * stride_rstd + p, mask=inside, other=0)
        shares = _softmax(_dots(x1, x2, centre, scale, q1, q2, q_sums, PRECISION) + c[None])
        if WITH_ATTENTION:
            places = attention + (b * N + n)[None] * positions + p[:, None]
            tl.store(places, shares, mask=inside[:, None] & real[None])
        weights = tl.where(inside[:, None], shares + EPS, 0)
        mass += weights
        weights = (weights * scale[:, None]).to(DT)
        centres += weights.to(tl.float32) * centre[:, None]
        weights = tl.trans(weights)
        sums1 = tl.dot(weights, x1, sums1, input_precision=PRECISION)
        sums2 = tl.dot(weights, x2, sums2, input_precision=PRECISION)

    shift = tl.sum(centres, 0)[:, None]
    part = b * tl.num_programs(1) + split
    sums = partial_sums + part * N * D
    _store_part(sums, n * D, real, sums1 - shift, D, 0)
    _store_part(sums, n * D, real, sums2 - shift, D, D1)
    tl.store(partial_mass + part * N + n, tl.sum(mass, 0), mask=real)


@no_type_check
@triton.jit
def backward_kernel(
    grad_read,
    grad_attention,
    inputs,
    mean,
    rstd,
    queries,
    bias,
    read,
    mass,
    grad_inputs,
    partial_queries,
    partial_bias,
    positions,
    stretch,
    stride_b,
    stride_p,
    stride_mean,
    stride_rstd,
    stride_attention_b,
    stride_attention_n,
    N: tl.constexpr,
    D: tl.constexpr,
    NP: tl.constexpr,
    D1: tl.constexpr,
    D2: tl.constexpr,
    BLOCK: tl.constexpr,
    EPS: tl.constexpr,
    WITH_ATTENTION: tl.constexpr,
    PRECISION: tl.constexpr,
    DT: tl.constexpr,
):
    b, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    n = tl.arange(0, NP)
    real = n < N
    q1, q2 = _load_rows(queries + b * N * D, n * D, real, D, D1, D2)
    g1, g2 = _load_rows(grad_read + b * N * D, n * D, real, D, D1, D2)
    r1, r2 = _load_rows(read + b * N * D, n * D, real, D, D1, D2)
    c = tl.load(bias + b * N + n, mask=real, other=-float("inf"))
    total = tl.load(mass + b * N + n, mask=real, other=1)[:, None]
    q1, q2, g1, g2 = q1.to(DT), q2.to(DT), (g1 / total).to(DT), (g2 / total).to(DT)
    q_sums, g_sums, g_means = _sum_rows(q1, q2), _sum_rows(g1, g2), _sum_rows(g1 * r1, g2 * r2)

    sums1, sums2 = tl.zeros((NP, D1), tl.float32), tl.zeros((NP, D2), tl.float32)
    to_bias, centres = tl.zeros((BLOCK, NP), tl.float32), tl.zeros((BLOCK, NP), tl.float32)
    first = split * stretch
    for start in range(first, tl.minimum(first + stretch, positions), BLOCK):
        p = start + tl.arange(0, BLOCK)
        inside = p < positions
        x1, x2 = _load_rows(inputs + b * stride_b, p * stride_p, inside, D, D1, D2)
        x1, x2 = x1.to(DT), x2.to(DT)
        centre = tl.load(mean + b * stride_mean + p, mask=inside, other=0)
        scale = tl.load(rstd + b * stride_rstd + p, mask=inside, other=0)
        along_q = _dots(x1, x2, centre, scale, q1, q2, q_sums, PRECISION)
        along_g = _dots(x1, x2, centre, scale, g1, g2, g_sums, PRECISION)
        shares = _softmax(along_q + c[None])
        to_shares = along_g - g_means[None]
        if WITH_ATTENTION:
            places = grad_attention + b * stride_attention_b + n[None] * stride_attention_n
            in_map = inside[:, None] & real[None]
            to_shares += tl.load(places + p[:, None], mask=in_map, other=0)
        to_logits = shares * (to_shares - tl.sum(shares * to_shares, 1)[:, None])
        to_logits = tl.where(inside[:, None], to_logits, 0)
        weights = shares + EPS

        # As in the reference: the gradient of z, its mean over d, and that of its product with z.
        mean_z = tl.sum(to_logits * q_sums[None] + weights * g_sums[None], 1) / D
        mean_zz = tl.sum(to_logits * along_q + weights * along_g, 1) / D
        slope = scale * scale * mean_zz
        offset = (slope * centre - scale * mean_z)[:, None]
        to_bias += to_logits
        to_vectors = (to_logits * scale[:, None]).to(DT)
        weights = (weights * scale[:, None]).to(DT)
        to_x = tl.dot(weights, g1, input_precision=PRECISION)
        to_x = tl.dot(to_vectors, q1, to_x, input_precision=PRECISION)
        to_x += offset - slope[:, None] * x1.to(tl.float32)
        _store_part(grad_inputs + b * positions * D, p * D, inside, to_x, D, 0)
        to_x = tl.dot(weights, g2, input_precision=PRECISION)
        to_x = tl.dot(to_vectors, q2, to_x, input_precision=PRECISION)
        to_x += offset - slope[:, None] * x2.to(tl.float32)
        _store_part(grad_inputs + b * positions * D, p * D, inside, to_x, D, D1)

        centres += to_vectors.to(tl.float32) * centre[:, None]
        to_vectors = tl.trans(to_vectors)
        sums1 = tl.dot(to_vectors, x1, sums1, input_precision=PRECISION)
        sums2 = tl.dot(to_vectors, x2, sums2, input_precision=PRECISION)

    shift = tl.sum(centres, 0)[:, None]
    part = b * tl.num_programs(1) + split
    sums = partial_queries + part * N * D
    _store_part(sums, n * D, real, sums1 - shift, D, 0)
    _store_part(sums, n * D, real, sums2 - shift, D, D1)
    tl.store(partial_bias + part * N + n, tl.sum(to_bias, 0), mask=real)


@no_type_check
@triton.jit
def combine_kernel(
    partial_sums,
    partial_mass,
    sums,
    mass,
    splits,
    N: tl.constexpr,
    D: tl.constexpr,
    DP: tl.constexpr,
    DIVIDE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    b, n, d = row // N, row % N, tl.arange(0, DP)
    total, total_mass = tl.zeros((DP,), tl.float32), 0.0
    for split in range(splits):
        part = (b * splits + split) * N + n
        total += tl.load(partial_sums + part * D + d, mask=d < D, other=0)
        total_mass += tl.load(partial_mass + part)
    if DIVIDE:
        total /= total_mass
    tl.store(sums + row * D + d, total, mask=d < D)
    tl.store(mass + row, total_mass)


def row_statistics(inputs: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Triton implementation of `slotcli::row_statistics`."""
    inputs = inputs.contiguous()
    mean = inputs.new_empty(inputs.shape[:-1], dtype=torch.float32)
    rstd = torch.empty_like(mean)
    config, width = CONFIGS["statistics", inputs.dtype], inputs.shape[-1]
    with torch.cuda.device_of(inputs):
        statistics_kernel[(triton.cdiv(mean.numel(), config.block),)](
            inputs,
            mean,
            rstd,
            mean.numel(),
            eps,
            D=width,
            DP=_padded(width),
            **_tile(config),
        )
    return mean, rstd


def forward(
    inputs: Tensor,
    mean: Tensor,
    rstd: Tensor,
    queries: Tensor,
    bias: Tensor,
    with_attention: bool,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Triton implementation of `slotcli::slot_read`."""
    inputs, mean, rstd = (_side_by_side(tensor) for tensor in (inputs, mean, rstd))
    (batch, slots, width), positions = queries.shape, inputs.shape[1]
    config = CONFIGS["forward", inputs.dtype]
    splits, stretch = _splits(batch, positions, config.block)
    attention = mean.new_empty((batch, slots, positions if with_attention else 0))
    sums = mean.new_empty((batch, splits, slots, width))
    mass = mean.new_empty((batch, splits, slots))
    with torch.cuda.device_of(inputs):
        forward_kernel[(batch, splits)](
            inputs,
            mean,
            rstd,
            queries.contiguous(),
            bias.contiguous(),
            attention,
            sums,
            mass,
            positions,
            stretch,
            *_strides(inputs, mean, rstd),
            WITH_ATTENTION=with_attention,
            **_constants(config, inputs.dtype, slots, width, eps),
        )
        read, mass = _combine(sums, mass, divide=True)
    return read, attention, mass


def backward(
    grad_read: Tensor,
    grad_attention: Tensor | None,
    inputs: Tensor,
    mean: Tensor,
    rstd: Tensor,
    queries: Tensor,
    bias: Tensor,
    read: Tensor,
    mass: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Triton implementation of `slotcli::slot_read_backward`."""
    inputs, mean, rstd = (_side_by_side(tensor) for tensor in (inputs, mean, rstd))
    grad_map = read if grad_attention is None else _side_by_side(grad_attention)
    (batch, slots, width), positions = queries.shape, inputs.shape[1]
    config = CONFIGS["backward", inputs.dtype]
    splits, stretch = _splits(batch, positions, config.block)
    grad_inputs = inputs.new_empty(inputs.shape)
    sums = mean.new_empty((batch, splits, slots, width))
    to_bias = mean.new_empty((batch, splits, slots))
    with torch.cuda.device_of(inputs):
        backward_kernel[(batch, splits)](
            grad_read.contiguous(),
            grad_map,
            inputs,
            mean,
            rstd,
            queries.contiguous(),
            bias.contiguous(),
            read.contiguous(),
            mass.contiguous(),
            grad_inputs,
            sums,
            to_bias,
            positions,
            stretch,
            *_strides(inputs, mean, rstd, grad_map),
            WITH_ATTENTION=grad_attention is not None,
            **_constants(config, inputs.dtype, slots, width, eps),
        )
        grad_queries, grad_bias = _combine(sums, to_bias, divide=False)
    return grad_inputs, grad_queries.to(queries.dtype), grad_bias


def _combine(sums: Tensor, mass: Tensor, *, divide: bool) -> tuple[Tensor, Tensor]:
    batch, splits, slots, width = sums.shape
    combined = sums.new_empty((batch, slots, width)), sums.new_empty((batch, slots))
    combine_kernel[(batch * slots,)](
        sums, mass, *combined, splits, N=slots, D=width, DP=_padded(width), DIVIDE=divide
    )
    return combined


def _side_by_side(tensor: Tensor) -> Tensor:
    """Makes the last axis contiguous; the others may have any strides."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _strides(*tensors: Tensor) -> list[int]:
    """All strides except that of the last axis, which is 1."""
    return [stride for tensor in tensors for stride in tensor.stride()[:-1]]


def _padded(width: int) -> int:
    return max(16, triton.next_power_of_2(width))


def _splits(batch: int, positions: int, block: int) -> tuple[int, int]:
    """Number of splits of the positions, and positions per split, a multiple of `block`.

    Two programs on each of a large GPU's 132 multiprocessors, if that leaves 256 positions to
    each, because partial sums cost traffic too; shorter splits only to have one on each.
    """
    most = max(triton.cdiv(positions, 256), min(132 // batch, triton.cdiv(positions, block)))
    splits = max(1, min(264 // batch, most))
    stretch = triton.cdiv(triton.cdiv(positions, splits), block) * block
    return triton.cdiv(positions, stretch), stretch


def _constants(
    config: Config, dtype: torch.dtype, slots: int, width: int, eps: float
) -> dict[str, Any]:
    """Constants of the forward and the backward kernel."""
    first = max(16, triton.next_power_of_2(width) // 2)
    exact = torch.get_float32_matmul_precision() == "highest"
    return {
        "N": slots,
        "D": width,
        "NP": _padded(slots),
        "D1": first,
        "D2": _padded(width - first),
        "EPS": eps,
        "PRECISION": "ieee" if exact else "tf32",
        # The interpreter would multiply the bit patterns of bfloat16.
        "DT": tl.bfloat16
        if dtype == torch.bfloat16 and not dispatch.is_interpreted()
        else tl.float32,
        **_tile(config),
    }


def _tile(config: Config) -> dict[str, Any]:
    return {
        "BLOCK": config.block,
        "num_warps": config.num_warps,
        "num_stages": config.num_stages,
    }


def compile_cases() -> Iterator[CompileCase]:
    """The published sizes, the shipped model's, and the largest, with all options on."""
    sizes = ((15, 192, torch.bfloat16), (15, 192, torch.float32), (8, 64, torch.bfloat16))
    for slots, width, dtype in sizes:
        yield _case("forward", forward_kernel, slots, width, dtype)
        yield _case("backward", backward_kernel, slots, width, dtype)
    yield _case("statistics", statistics_kernel, 1, 192, torch.bfloat16)
    yield _case("combine", combine_kernel, 15, 192, torch.float32)


def _case(name: str, kernel: Any, slots: int, width: int, dtype: torch.dtype) -> CompileCase:
    config = CONFIGS.get((name, dtype), Config(1, 4, 1))
    constants = _constants(config, dtype, slots, width, READ_EPS)
    constants |= {"WITH_ATTENTION": True, "DIVIDE": True, "DP": _padded(width)}
    of_inputs = {"inputs", "queries", "grad_inputs"}
    kind = {"eps": "fp32"} | dict.fromkeys(
        of_inputs, "*bf16" if dtype == torch.bfloat16 else "*fp32"
    )
    integers = {"positions", "stretch", "rows", "splits"}
    signature = {
        argument: kind.get(
            argument, "i32" if argument in integers or "stride" in argument else "*fp32"
        )
        for argument in kernel.arg_names
        if argument not in constants
    }
    return CompileCase(
        name=f"{name} {slots}x{width} {dtype}",
        kernel=kernel,
        signature=signature,
        constexprs={key: constants[key] for key in kernel.arg_names if key in constants},
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        aligned=frozenset(signature) - {"eps", "splits"},
        wide=frozenset({"forward": ("load",), "backward": ("load", "store")}.get(name, ())),
    )
