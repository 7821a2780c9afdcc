"""The reference kernels against loops in float64 that share no code with them."""

import math

import numpy as np
import pytest
import torch

from slotcli.kernels import mask_argmax, nearest_code, slot_read


def read_by_hand(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    batch, slots, width = q.shape
    positions = k.shape[1]
    read, attention = np.zeros((batch, slots, width)), np.zeros((batch, slots, positions))
    for b in range(batch):
        for p in range(positions):
            logits = [float(q[b, n] @ k[b, p]) / math.sqrt(width) for n in range(slots)]
            exps = [math.exp(logit - max(logits)) for logit in logits]
            for n in range(slots):
                attention[b, n, p] = exps[n] / sum(exps)
        for n in range(slots):
            total = sum(attention[b, n, p] + 1e-6 for p in range(positions))
            for p in range(positions):
                read[b, n] += (attention[b, n, p] + 1e-6) / total * v[b, p]
    return read, attention


@pytest.mark.parametrize(
    ("batch", "slots", "positions", "width"),
    [(2, 5, 7, 6), (1, 1, 4, 3), (3, 4, 1, 8), (1, 1, 1, 1)],
)
def test_slot_read_agrees_with_a_loop(batch: int, slots: int, positions: int, width: int) -> None:
    rng = np.random.default_rng(0)
    q = rng.normal(size=(batch, slots, width)) * 3
    k, v = rng.normal(size=(2, batch, positions, width))
    read, attention = slot_read(*(torch.tensor(x, dtype=torch.float32) for x in (q, k, v)))
    wanted_read, wanted_attention = read_by_hand(q, k, v)
    np.testing.assert_allclose(read, wanted_read, atol=2e-6)
    np.testing.assert_allclose(attention, wanted_attention, atol=1e-6)
    np.testing.assert_allclose(attention.sum(1), 1, atol=1e-6)


def test_slot_read_is_defined_for_a_slot_that_nothing_attends_to() -> None:
    queries = torch.tensor([[[100.0, 0.0], [-100.0, 0.0]]])
    keys = torch.tensor([[[100.0, 0.0], [100.0, 0.0]]])
    values = torch.tensor([[[1.0, 3.0], [5.0, 7.0]]])
    read, attention = slot_read(queries, keys, values)
    assert attention[0, 1].max() == 0
    torch.testing.assert_close(read[0, 1], torch.tensor([3.0, 5.0]))


@pytest.mark.parametrize("rows", [1, 300, 5000])
def test_nearest_code_agrees_with_brute_force(rows: int) -> None:
    rng = np.random.default_rng(rows)
    latents, codes = rng.normal(size=(rows, 3)), rng.normal(size=(61, 3))
    found = nearest_code(torch.tensor(latents), torch.tensor(codes))
    distances = ((latents[:, None] - codes[None]) ** 2).sum(-1)
    np.testing.assert_array_equal(found, distances.argmin(1))


def test_nearest_code_gives_ties_to_the_first_code() -> None:
    """Integers, so that every distance is exact and a tie is a tie; more rows than one chunk."""
    rng = np.random.default_rng(1)
    latents = rng.integers(-2, 3, size=(9000, 4)).astype(np.float32)
    codes = rng.integers(-2, 3, size=(150, 4)).astype(np.float32)
    codes[100:] = codes[:50]
    distances = ((latents[:, None] - codes[None]) ** 2).sum(-1)
    assert ((distances == distances.min(1, keepdims=True)).sum(1) > 1).mean() > 0.3
    found = nearest_code(torch.from_numpy(latents), torch.from_numpy(codes))
    np.testing.assert_array_equal(found, distances.argmin(1))


def upsample_by_hand(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear with pixel centres at halves and clamped borders (align_corners=False)."""
    out = np.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            corners = []
            for place, new, old in ((y, size[0], image.shape[0]), (x, size[1], image.shape[1])):
                centre = max((place + 0.5) * old / new - 0.5, 0)
                low = min(int(centre), old - 1)
                corners.append((low, min(low + 1, old - 1), centre - low))
            (y0, y1, fy), (x0, x1, fx) = corners
            top = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
            bottom = image[y1, x0] * (1 - fx) + image[y1, x1] * fx
            out[y, x] = top * (1 - fy) + bottom * fy
    return out


@pytest.mark.parametrize("slots", [1, 2, 6])
@pytest.mark.parametrize("size", [(16, 16), (13, 22), (4, 5)])
def test_mask_argmax_agrees_with_float64_interpolation(slots: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    attention = rng.dirichlet(np.ones(slots), size=(2, 4, 5)).transpose(0, 3, 1, 2)
    labels = mask_argmax(torch.tensor(attention, dtype=torch.float32), size).numpy()
    assert labels.dtype == np.uint8
    for frame, found in zip(attention, labels, strict=True):
        upsampled = np.stack([upsample_by_hand(slot, size) for slot in frame])
        best = np.sort(upsampled, axis=0)
        clear = best[-1] - (best[-2] if slots > 1 else -1) > 1e-5
        assert clear.mean() > 0.99
        np.testing.assert_array_equal(found[clear], upsampled.argmax(0)[clear])


def test_mask_argmax_gives_a_tie_to_the_first_slot() -> None:
    assert mask_argmax(torch.full((1, 3, 2, 2), 1 / 3), (5, 5)).max() == 0
