"""The operations at the sizes of the paper's MOVi models, fused and as eager baseline.

A form takes a case's tensors, does the preparation that a model does once for many calls, and
returns the call: a function without arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch import device as Device

from slotcli import kernels
from slotcli.bench import plain_operations
from slotcli.diffusion.unet import HEAD_DIM, Attention
from slotcli.types import Size

Tensors = tuple[Tensor, ...]
Call = Callable[[], Tensors]

SLOTS, WIDTH = 15, 192
CODES, LATENT_CHANNELS = 4096, 3
_EPS = 1e-5


@dataclass(frozen=True)
class Case:
    """A benchmark case; `differentiated` adds the gradients of the first result for all tensors.

    Every call has to read the first `streamed` tensors, or all of them; of the others it needs only
    what has been prepared.
    """

    operation: str
    shape: str
    frames: int
    tensors: Callable[[Generator], Tensors]
    ours: Callable[..., Call]
    plain: Callable[..., Call]
    differentiated: bool = False
    streamed: int | None = None


def cases(device: Device) -> list[Case]:
    """All cases; the number of frames depends on the kind of device."""
    on_gpu = device.type == "cuda"
    many = 96 if on_gpu else 8
    found = [one_read(32, 1024), one_read(96, 4096)] if on_gpu else []
    found += [frame_reads(1, 1024), frame_reads(many, 1024), frame_reads(many, 4096)]
    found.append(frame_reads(many, 1024, differentiated=True))
    for frames in (1, many):
        levels = ((256, 256), (64, 384), (16, 512))
        found += [cross_attention(frames, *level) for level in levels]
    for backward in (False, True):
        for channels, side in ((128, 32), (256, 16), (384, 8), (512, 4)):
            case = group_norm_act(many, channels, side, "shift", differentiated=backward)
            found.append(case)
        found.append(group_norm_act(many, 64, 128, "residual", differentiated=backward))
    found.append(nearest_code(many * 1024))
    found += [mask_argmax(24, (128, 128)), mask_argmax(1, (1080, 1920))]
    return found


def one_read(frames: int, positions: int) -> Case:
    """Any iteration but a frame's last, for its fraction of the roofline.

    What the iterations of a frame share is prepared: statistics for ours, keys and values for the
    plain form.
    """

    def ours(features: Tensor, queries: Tensor, *weights: Tensor) -> Call:
        statistics = kernels.row_statistics(features, _EPS)
        return lambda: (_read(features, statistics, queries, *weights, with_attention=False)[0],)

    def plain(features: Tensor, queries: Tensor, *weights: Tensor) -> Call:
        keys, values = _keys_values(features, *weights)
        return lambda: (plain_operations.slot_read(queries, keys, values)[0],)

    shape = f"{frames} x {positions}, {SLOTS} slots of {WIDTH}, one read"
    tensors = _reading(frames, positions)
    return Case("slot_read", shape, frames, tensors, ours, plain, streamed=2)


def frame_reads(frames: int, positions: int, *, differentiated: bool = False) -> Case:
    """Both reads of a frame's step, and the work that they share."""

    def ours(features: Tensor, queries: Tensor, *weights: Tensor) -> Call:
        def call() -> Tensors:
            statistics = kernels.row_statistics(features, _EPS)
            first, _ = _read(features, statistics, queries, *weights, with_attention=False)
            return _read(features, statistics, queries + first, *weights, with_attention=True)

        return call

    def plain(features: Tensor, queries: Tensor, *weights: Tensor) -> Call:
        def call() -> Tensors:
            keys, values = _keys_values(features, *weights)
            first, _ = plain_operations.slot_read(queries, keys, values)
            return plain_operations.slot_read(queries + first, keys, values)

        return call

    shape = f"{frames} x {positions}, {SLOTS} slots of {WIDTH}, norm and 2 reads"
    tensors = _reading(frames, positions)
    return Case("slot_read", shape, frames, tensors, ours, plain, differentiated)


def _reading(frames: int, positions: int) -> Callable[[Generator], Tensors]:
    """Features, queries, and the weights of the norm, the keys and the values."""

    def tensors(rng: Generator) -> Tensors:
        return (
            2 * torch.randn(frames, positions, WIDTH, generator=rng) + 1,
            torch.randn(frames, SLOTS, WIDTH, generator=rng),
            1 + torch.randn(WIDTH, generator=rng) / 10,
            torch.randn(WIDTH, generator=rng) / 10,
            torch.randn(WIDTH, WIDTH, generator=rng) * WIDTH**-0.5,
            torch.randn(WIDTH, WIDTH, generator=rng) * WIDTH**-0.5,
        )

    return tensors


def _read(
    features: Tensor,
    statistics: tuple[Tensor, Tensor],
    queries: Tensor,
    gamma: Tensor,
    beta: Tensor,
    to_keys: Tensor,
    to_values: Tensor,
    *,
    with_attention: bool,
) -> tuple[Tensor, Tensor]:
    """As in SlotAttention: projections absorbed into the queries and the result."""
    absorbed = queries * WIDTH**-0.5 @ to_keys
    means, attention = kernels.slot_read(
        features, *statistics, absorbed * gamma, absorbed @ beta, with_attention=with_attention
    )
    return F.linear((means * gamma + beta).to(queries.dtype), to_values), attention


def _keys_values(
    features: Tensor, gamma: Tensor, beta: Tensor, to_keys: Tensor, to_values: Tensor
) -> tuple[Tensor, Tensor]:
    inputs = F.layer_norm(features, (WIDTH,), gamma, beta, _EPS)
    return F.linear(inputs, to_keys), F.linear(inputs, to_values)


def cross_attention(frames: int, positions: int, channels: int) -> Case:
    """One function evaluation of a sampler; ours has prepared the context once for all of them."""

    def tensors(rng: Generator) -> Tensors:
        shapes = [parameter.shape for layer in layers() for parameter in layer.parameters()]
        weights = (torch.randn(shape, generator=rng) * shape[-1] ** -0.5 for shape in shapes)
        x = torch.randn(frames, positions, channels, generator=rng)
        return x, torch.randn(frames, SLOTS, WIDTH, generator=rng), *weights

    def layers(*weights: Tensor) -> tuple[nn.LayerNorm, Attention]:
        norm, attention = nn.LayerNorm(channels), Attention(channels, WIDTH)
        own = [*norm.parameters(), *attention.parameters()]
        for parameter, given in zip(own, weights, strict=False):
            parameter.data = given
        return norm, attention

    def ours(x: Tensor, context: Tensor, *weights: Tensor) -> Call:
        norm, attention = layers(*weights)
        heads, kept = channels // HEAD_DIM, attention.project(context)
        sizes = {"frames": frames, "positions": positions, "channels": channels}
        if not kernels.absorbing_pays(x.device, **sizes, slots=SLOTS, heads=heads):
            return lambda: (x + attention(norm(x), kept),)
        absorbed = attention.absorb(kept, norm)
        return lambda: (kernels.slot_cross_attention(x, *absorbed, heads=heads, eps=norm.eps),)

    def plain(x: Tensor, context: Tensor, *weights: Tensor) -> Call:
        norm, attention = layers(*weights)
        return lambda: (plain_operations.cross_attention(x, context, norm, attention),)

    shape = f"{frames} x {positions}, {channels} channels, {SLOTS} slots"
    return Case("slot_cross_attention", shape, frames, tensors, ours, plain, streamed=2)


def group_norm_act(
    frames: int, channels: int, side: int, extra: str, *, differentiated: bool = False
) -> Case:
    """With a `shift` as in the U-Net's residual blocks, where the time embedding is added, or with
    a `residual` as at the end of the encoder's. Maps are channels last.
    """
    activation = "silu" if extra == "shift" else "relu"

    def tensors(rng: Generator) -> Tensors:
        x, residual = torch.randn(2, frames, side, side, channels, generator=rng).movedim(-1, 2)
        weight, bias = torch.randn(2, channels, generator=rng)
        shift = torch.randn(frames, channels, generator=rng)
        return x, weight, bias, shift if extra == "shift" else residual

    def form(operation: Callable[..., Tensor]) -> Callable[..., Call]:
        def prepared(x: Tensor, weight: Tensor, bias: Tensor, added: Tensor) -> Call:
            options = {"groups": 32, "eps": _EPS, "activation": activation, extra: added}
            return lambda: (operation(x, weight, bias, **options),)

        return prepared

    ours, plain = form(kernels.group_norm_act), form(plain_operations.group_norm_act)
    shape = f"{frames} x {channels} x {side} x {side}, {extra}, {activation}"
    return Case("group_norm_act", shape, frames, tensors, ours, plain, differentiated)


def nearest_code(rows: int) -> Case:
    def tensors(rng: Generator) -> Tensors:
        return tuple(torch.randn(n, LATENT_CHANNELS, generator=rng) for n in (rows, CODES))

    return Case(
        "nearest_code",
        f"{rows} latents, {CODES} codes of {LATENT_CHANNELS}",
        rows // 1024,
        tensors,
        ours=lambda latents, codes: lambda: (kernels.nearest_code(latents, codes),),
        plain=lambda latents, codes: lambda: (plain_operations.nearest_code(latents, codes),),
    )


def mask_argmax(frames: int, size: Size) -> Case:
    return Case(
        "mask_argmax",
        f"{frames} x {SLOTS} x 32 x 32 to {size[0]} x {size[1]}",
        frames,
        tensors=lambda rng: (torch.randn(frames, SLOTS, 32, 32, generator=rng).softmax(1),),
        ours=lambda attention: lambda: (kernels.mask_argmax(attention, size),),
        plain=lambda attention: lambda: (plain_operations.mask_argmax(attention, size),),
    )
