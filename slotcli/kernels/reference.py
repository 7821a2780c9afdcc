"""The operations in plain torch: the specification against which faster versions are tested."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from slotcli.types import Size

READ_EPS = 1e-6  # Locatello et al. 2020, Algorithm 1

_LARGE_MAP = 1024  # positions

# Scores of nearest_code in memory at once: the size of a core's cache, and 64 MiB on a GPU.
_SCORES = {"cpu": 1 << 18, "cuda": 1 << 24}
_CODE_BLOCK = 128


def row_statistics(
    inputs: Float[Tensor, "*b p d"], eps: float
) -> tuple[Float[Tensor, "*b p"], Float[Tensor, "*b p"]]:
    """`slotcli.kernels.row_statistics`."""
    # On the CPU the statistics have the dtype of this scale, its only purpose.
    wide = torch.promote_types(inputs.dtype, torch.float32)
    scale = inputs.new_ones(inputs.shape[-1], dtype=wide) if inputs.is_cpu else None
    _, mean, rstd = torch.native_layer_norm(inputs, inputs.shape[-1:], scale, None, eps)
    return mean.squeeze(-1), rstd.squeeze(-1)


def slot_read(
    inputs: Float[Tensor, "b p d"],
    mean: Float[Tensor, "b p"],
    rstd: Float[Tensor, "b p"],
    queries: Float[Tensor, "b n d"],
    bias: Float[Tensor, "b n"],
    eps: float = READ_EPS,
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n p"], Float[Tensor, "b n"]]:
    """`slotcli.kernels.slot_read`: the means, the attention, and each slot's sum of weights."""
    logits = _normalised_dots(inputs, mean, rstd, queries) + bias[..., None]
    attention = logits.softmax(dim=1)
    weights = attention + eps  # keeps the mean defined for a slot without attention
    mass = weights.sum(dim=2)
    return _normalised_sums(inputs, mean, rstd, weights) / mass[..., None], attention, mass


def slot_read_backward(
    grad_read: Float[Tensor, "b n d"],
    grad_attention: Float[Tensor, "b n p"] | None,
    inputs: Float[Tensor, "b p d"],
    mean: Float[Tensor, "b p"],
    rstd: Float[Tensor, "b p"],
    queries: Float[Tensor, "b n d"],
    bias: Float[Tensor, "b n"],
    read: Float[Tensor, "b n d"],
    mass: Float[Tensor, "b n"],
    eps: float = READ_EPS,
) -> tuple[Float[Tensor, "b p d"], Float[Tensor, "b n d"], Float[Tensor, "b n"]]:
    """Gradients of inputs (also through their mean and rstd), queries and bias.

    The gradient of z, the normalised inputs, is a sum of 2n vectors: the queries and the gradients
    of the means. The backward of a LayerNorm needs its mean over d and that of its product with z;
    both follow from dot products that are already computed.
    """
    grads = (grad_read / mass[..., None]).to(inputs.dtype)
    vectors = torch.cat([queries, grads], dim=1)
    dots = _normalised_dots(inputs, mean, rstd, vectors)
    along_queries, along_grads = dots.chunk(2, dim=1)
    attention = (along_queries + bias[..., None]).softmax(dim=1)
    grad_weights = along_grads - (grads * read).sum(dim=2, keepdim=True)
    if grad_attention is not None:
        grad_weights = grad_weights + grad_attention
    grad_logits = attention * (grad_weights - (attention * grad_weights).sum(dim=1, keepdim=True))

    factors = torch.cat([grad_logits, attention + eps], dim=1)
    width = inputs.shape[2]
    mean_z = (factors * vectors.sum(dim=2, keepdim=True, dtype=dots.dtype)).sum(dim=1) / width
    mean_zz = (factors * dots).sum(dim=1) / width
    # rstd * (grad_z - mean_z - z * mean_zz), with z expanded in terms of the inputs
    slope = rstd.square() * mean_zz
    offset = slope * mean - rstd * mean_z
    coefficients = torch.cat([factors * rstd[:, None], offset[:, None]], dim=1).to(inputs.dtype)
    vectors = torch.cat([vectors, torch.ones_like(vectors[:, :1])], dim=1)
    grad_inputs = coefficients.mT @ vectors
    grad_inputs.addcmul_(inputs, slope[..., None].to(inputs.dtype), value=-1)

    grad_queries = _normalised_sums(inputs, mean, rstd, grad_logits)
    return grad_inputs, grad_queries.to(queries.dtype), grad_logits.sum(dim=2)


def _normalised_dots(
    inputs: Float[Tensor, "b p d"],
    mean: Float[Tensor, "b p"],
    rstd: Float[Tensor, "b p"],
    vectors: Float[Tensor, "b n d"],
) -> Float[Tensor, "b n p"]:
    """Dot products of vectors with the normalised inputs, without materialising these."""
    dots = (vectors @ inputs.mT).to(mean.dtype)
    sums = vectors.sum(dim=2, keepdim=True, dtype=mean.dtype)
    return (dots - sums * mean[:, None]) * rstd[:, None]


def _normalised_sums(
    inputs: Float[Tensor, "b p d"],
    mean: Float[Tensor, "b p"],
    rstd: Float[Tensor, "b p"],
    weights: Float[Tensor, "b n p"],
) -> Float[Tensor, "b n d"]:
    """Weighted sums of the normalised inputs, without materialising these."""
    weights = (weights * rstd[:, None]).to(inputs.dtype)
    return (weights @ inputs).to(mean.dtype) - weights.to(mean.dtype) @ mean[..., None]


def nearest_code(
    latents: Float[Tensor, "rows c"], codes: Float[Tensor, "k c"]
) -> Int64[Tensor, " rows"]:
    """Index of each row's nearest code by squared Euclidean distance; ties go to the first code.

    It minimises |e|^2 / 2 - z.e, half the distance minus half of |z|^2, in float32 for narrower
    inputs. Of codes within rounding of the minimum it may return any.
    """
    dtype = torch.promote_types(latents.dtype, torch.float32)
    latents, codes = latents.to(dtype), codes.to(dtype)
    half_norms = codes.square().sum(dim=1, keepdim=True) / 2
    table = torch.cat([-codes, half_norms], dim=1).T.contiguous()
    ones = latents.new_ones(len(latents), 1)
    at_once = max(1, _SCORES[latents.device.type] // len(codes))
    rows = torch.cat([latents, ones], dim=1).split(at_once)
    return torch.cat([_first_least(chunk @ table) for chunk in rows])


def _first_least(scores: Float[Tensor, "rows k"]) -> Int64[Tensor, " rows"]:
    """argmin over k at the speed of amin: finds the block of the minimum, then searches it."""
    width = math.gcd(scores.shape[1], _CODE_BLOCK)
    blocks = scores.unflatten(1, (-1, width))
    block = blocks.amin(dim=2).argmin(dim=1)
    within = blocks.take_along_dim(block[:, None, None], dim=1).argmin(dim=2)
    return block * width + within[:, 0]


def mask_argmax(attention: Float[Tensor, "t n h w"], size: Size) -> UInt8[Tensor, "t H W"]:
    """Index of the winning slot at each pixel of `size`, by bilinear upsampling of attention.

    As F.interpolate without antialiasing, up or down; ties go to the first slot. One slot is
    upsampled at a time, so that n full-size maps are never in memory.
    """
    labels = attention.new_zeros(len(attention), *size, dtype=torch.uint8)
    for frame, frame_labels in zip(attention, labels, strict=True):
        best = _upsampled(frame[0], size)
        for number, slot in enumerate(frame[1:], start=1):
            share = _upsampled(slot, size)
            frame_labels.masked_fill_(share > best, number)
            torch.maximum(best, share, out=best)
    return labels


def _upsampled(image: Float[Tensor, "h w"], size: Size) -> Float[Tensor, "H W"]:
    wide = image.to(torch.promote_types(image.dtype, torch.float32))[None, None]
    return F.interpolate(wide, size=size, mode="bilinear", align_corners=False)[0, 0]


def group_norm_act(
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, " c"],
    bias: Float[Tensor, " c"],
    shift: Float[Tensor, "b c"] | None,
    residual: Float[Tensor, "b c h w"] | None,
    groups: int,
    eps: float,
    activation: str,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b g"], Float[Tensor, "b g"]]:
    """See kernels.group_norm_act. Also mean and 1 / sqrt(variance + eps) of x + shift per group."""
    (b, c, h, w), wide = x.shape, torch.promote_types(x.dtype, torch.float32)
    # torch's bfloat16 kernel on a CPU takes 3 times as long as float32 on most small maps.
    narrow = x.is_cpu and x.dtype == torch.bfloat16
    narrow = narrow and (h * w >= _LARGE_MAP or c // groups % 16 == 0)
    moved = _moved(x, shift, x.dtype if narrow else wide)
    # Parameters in float32 make torch keep the statistics in float32.
    y, mean, rstd = torch.native_group_norm(
        moved, weight.to(wide), bias.to(wide), b, c, h * w, groups, eps
    )
    if residual is not None:
        y.add_(residual)
    if activation == "silu":
        F.silu(y, inplace=True)
    elif activation == "relu":
        y.relu_()
    return y.to(x.dtype).contiguous(memory_format=torch.channels_last), mean, rstd


def group_norm_act_backward(
    grad: Float[Tensor, "b c h w"],
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, " c"],
    bias: Float[Tensor, " c"],
    shift: Float[Tensor, "b c"] | None,
    residual: Float[Tensor, "b c h w"] | None,
    mean: Float[Tensor, "b g"],
    rstd: Float[Tensor, "b g"],
    activation: str,
) -> tuple[
    Float[Tensor, "b c h w"],
    Float[Tensor, " c"],
    Float[Tensor, " c"],
    Float[Tensor, "b c"] | None,
    Float[Tensor, "b c h w"] | None,
]:
    """Gradients of x, weight, bias, shift and residual: maps in x's dtype, sums in the mean's."""
    (b, c, h, w), wide = x.shape, mean.dtype
    moved, grad = _moved(x, shift, wide), _native(grad.to(wide))
    if activation != "none":
        scale = rstd.repeat_interleave(c // mean.shape[1], dim=1) * weight.to(wide)
        offset = bias.to(wide) - mean.repeat_interleave(c // mean.shape[1], dim=1) * scale
        before = torch.addcmul(offset[:, :, None, None], moved, scale[:, :, None, None])
        if residual is not None:
            before.add_(residual)
        if activation == "silu":
            grad = torch.ops.aten.silu_backward(grad, before)
        else:
            grad = torch.ops.aten.threshold_backward(grad, before, 0)
    grad_x, grad_weight, grad_bias = torch.ops.aten.native_group_norm_backward(
        _native(grad), moved, mean, rstd, weight.to(wide), b, c, h * w, mean.shape[1], [True] * 3
    )
    return (
        grad_x.to(x.dtype).contiguous(memory_format=torch.channels_last),
        grad_weight,
        grad_bias,
        None if shift is None else grad_x.sum((2, 3)),
        None
        if residual is None
        else grad.to(x.dtype, copy=activation == "none").contiguous(
            memory_format=torch.channels_last
        ),
    )


def _moved(
    x: Float[Tensor, "b c h w"], shift: Float[Tensor, "b c"] | None, dtype: torch.dtype
) -> Float[Tensor, "b c h w"]:
    x = x.to(dtype)
    return _native(x if shift is None else x + shift.to(dtype)[:, :, None, None])


def _native(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Converts to the layout of torch's group norm, which on CUDA supports only NCHW."""
    return x.contiguous(memory_format=torch.contiguous_format if x.is_cuda else torch.channels_last)


def slot_cross_attention(
    x: Float[Tensor, "b p c"],
    queries: Float[Tensor, "b m c"],
    offset: Float[Tensor, "b m"],
    values: Float[Tensor, "b m c"],
    heads: int,
    eps: float,
) -> Float[Tensor, "b p c"]:
    """See kernels.slot_cross_attention."""
    normed = F.layer_norm(x, x.shape[-1:], eps=eps)
    # Positions last: softmax over an outer axis is 10 times as fast as over an inner one of 15.
    logits = torch.baddbmm(offset[:, :, None], queries, normed.transpose(1, 2))
    weights = logits.unflatten(1, (-1, heads)).softmax(dim=1).flatten(1, 2)
    return torch.baddbmm(x, weights.transpose(1, 2), values)
