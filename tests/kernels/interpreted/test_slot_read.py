"""The Triton slot read against the reference in float64: outputs and gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from slotcli.kernels import row_statistics, slot_read
from slotcli.kernels.dispatch import use_backend

Guarded = Callable[..., Tensor]

# Batch, slots, positions, width: ragged against every tile, alone, and more than one stretch.
SHAPES = [(2, 5, 77, 24), (1, 1, 1, 16), (3, 1, 40, 20), (2, 3, 1, 8), (1, 16, 150, 192)]
TOLERANCES = {torch.float32: 3e-6, torch.bfloat16: 4e-3}
EPS = 1e-5
# Every shape with attention and without, and each of either at both precisions: the interpreter is
# slow.
CASES = [
    (shape, list(TOLERANCES)[(place + number) % 2], with_attention)
    for place, shape in enumerate(SHAPES)
    for number, with_attention in enumerate((True, False))
]


def make(
    batch: int, slots: int, positions: int, width: int, dtype: torch.dtype
) -> tuple[list[Tensor], list[Tensor]]:
    """Features, queries and bias; and gradients of the means and of the attention."""
    rng = torch.Generator().manual_seed(slots + positions + width)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng)

    row = noise(batch, positions, 2, 1)
    features = noise(batch, positions, width) * (row[:, :, 0] / 2).exp() + row[:, :, 1]
    queries = 3 * width**-0.5 * noise(batch, slots, width)
    return (
        [features.to(dtype), queries.to(dtype), noise(batch, slots)],
        [noise(batch, slots, width), noise(batch, slots, positions)],
    )


def read(tensors: list[Tensor], gradients: list[Tensor], with_attention: bool) -> dict[str, Tensor]:
    """Outputs and gradients by name."""
    features, queries, bias = (tensor.detach().requires_grad_() for tensor in tensors)
    mean, rstd = row_statistics(features, EPS)
    means, attention = slot_read(features, mean, rstd, queries, bias, with_attention=with_attention)
    outputs = [means, attention] if with_attention else [means]
    torch.autograd.backward(outputs, gradients[: len(outputs)])
    assert features.grad is not None
    assert queries.grad is not None
    assert bias.grad is not None
    return {
        "mean": mean,
        "rstd": rstd,
        "means": means.detach(),
        "attention": attention.detach(),
        "features.grad": features.grad,
        "queries.grad": queries.grad,
        "bias.grad": bias.grad,
    }


def assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    for name, exact in wanted.items():
        error = (found[name].double() - exact).norm()
        scale = exact.norm()
        if scale < 1e-9:  # of one position alone the queries' gradient is 0
            scale = exact.numel() ** 0.5
        assert error <= tolerance * scale, name


@pytest.mark.parametrize(("shape", "dtype", "with_attention"), CASES)
def test_it_agrees_with_the_reference(
    guarded: Guarded,
    shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    with_attention: bool,
) -> None:
    tensors, gradients = make(*shape, dtype)
    with use_backend("reference"):
        wanted = read(
            [tensor.double() for tensor in tensors],
            [gradient.double() for gradient in gradients],
            with_attention,
        )
    with use_backend("triton"):
        found = read(
            [guarded(tensor) for tensor in tensors],
            [guarded(gradient) for gradient in gradients],
            with_attention,
        )
    assert_close(found, wanted, TOLERANCES[dtype])


def test_eps_is_in_the_weights_and_their_gradients() -> None:
    tensors, _ = make(1, 3, 20, 16, torch.float32)
    results = []
    for backend in ("reference", "triton"):
        features, queries, bias = (tensor.detach().requires_grad_() for tensor in tensors)
        with use_backend(backend):
            statistics = row_statistics(features, EPS)
            means, _ = slot_read(
                features, *statistics, queries, bias, with_attention=False, eps=0.3
            )
            gradients = torch.autograd.grad(means.pow(3).sum(), (features, queries, bias))
        results.append((means, *gradients))
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)


def test_a_frame_of_a_clip_is_read_where_it_lies(guarded: Guarded) -> None:
    """Frames and their statistics as the encoder takes them: slices of those of the whole clip."""
    (features, queries, bias), _ = make(2, 4, 30, 16, torch.float32)
    clip = guarded(torch.stack([features, features.flip(1), features * 2], dim=1))
    results = []
    for backend in ("reference", "triton"):
        with use_backend(backend):
            mean, rstd = row_statistics(clip, EPS)
            results.append(
                slot_read(clip[:, 1], mean[:, 1], rstd[:, 1], queries, bias, with_attention=True)
            )
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)


def test_the_number_of_stretches_changes_nothing_but_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from slotcli.kernels import triton_slot_read

    tensors, gradients = make(2, 3, 100, 16, torch.float32)
    results = []
    for splits in ((1, 128), (4, 32)):
        monkeypatch.setattr(triton_slot_read, "_splits", lambda *_, splits=splits: splits)
        with use_backend("triton"):
            results.append(read(tensors, gradients, True))
    torch.testing.assert_close(*results, atol=2e-6, rtol=1e-5)


def test_a_slot_that_nothing_attends_to_has_the_mean_of_all() -> None:
    (features, queries, bias), _ = make(1, 3, 20, 16, torch.float32)
    bias[0, 1] = -200
    mean, rstd = row_statistics(features, EPS)
    with use_backend("triton"):
        means, _ = slot_read(features, mean, rstd, queries, bias, with_attention=False)
    wanted = ((features - mean[..., None]) * rstd[..., None]).mean(1)
    torch.testing.assert_close(means[:, 1], wanted)
