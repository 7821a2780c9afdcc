"""The Triton cross-attention against the reference in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from slotcli.kernels import slot_cross_attention
from slotcli.kernels.dispatch import use_backend

Guarded = Callable[..., Tensor]

# Frames, positions, channels, slots, heads: the published shares, ragged tiles, alone.
SHAPES = [
    (2, 70, 64, 15, 2),
    (1, 1, 64, 1, 1),
    (3, 17, 192, 7, 6),
    (2, 16, 256, 17, 8),
    (1, 33, 128, 32, 4),
    (1, 20, 384, 15, 12),
]
TOLERANCES = {torch.float32: 3e-6, torch.bfloat16: 6e-3}
EPS = 1e-5


def make(
    frames: int, positions: int, channels: int, slots: int, heads: int, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """Tokens with a mean and a scale of their own each; queries, offset, values."""
    rng = torch.Generator().manual_seed(positions + slots)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng)

    tokens = noise(frames, positions, channels) * noise(frames, positions, 1).exp()
    tokens += 3 * noise(frames, positions, 1)
    queries = 2 * channels**-0.5 * noise(frames, slots * heads, channels)
    offset, values = noise(frames, slots * heads), noise(frames, slots * heads, channels)
    return tuple(tensor.to(dtype) for tensor in (tokens, queries, offset, values))


def branch(tensors: tuple[Tensor, ...], heads: int) -> Tensor:
    """What the map reads, without the map itself, in float64."""
    return slot_cross_attention(*tensors, heads=heads, eps=EPS).double() - tensors[0].double()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_agrees_with_the_reference(
    guarded: Guarded, shape: tuple[int, int, int, int, int], dtype: torch.dtype
) -> None:
    tensors, heads = make(*shape, dtype), shape[-1]
    with use_backend("reference"):
        wanted = branch(tuple(tensor.double() for tensor in tensors), heads)
    with use_backend("triton"):
        found = branch(tuple(guarded(tensor) for tensor in tensors), heads)
    scale = torch.maximum(wanted.norm(), tensors[0].double().norm())
    assert (found - wanted).norm() <= TOLERANCES[dtype] * scale


def test_tokens_may_lie_channel_by_channel(guarded: Guarded) -> None:
    tokens, *rest = make(2, 20, 64, 5, 2, torch.float32)
    with use_backend("reference"):
        wanted = branch((tokens, *rest), 2)
    with use_backend("triton"):
        found = branch((guarded(tokens, innermost=1), *rest), 2)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_a_mean_far_from_0_does_not_drown_the_variance() -> None:
    tokens, *rest = make(1, 20, 64, 5, 2, torch.float32)
    tokens = torch.nn.functional.layer_norm(tokens, [64]) + 300
    with use_backend("reference"):
        wanted = branch((tokens.double(), *(tensor.double() for tensor in rest)), 2)
    with use_backend("triton"):
        found = branch((tokens, *rest), 2)
    torch.testing.assert_close(found, wanted, atol=2e-4, rtol=1e-4)
