"""The deblocking filter: without effect until it is fitted, then the least-squares filter."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from slotcli.decoders.deblocking import Deblocking

BLOCK = 4


def pictures(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 3, 24, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_it_changes_nothing_before_it_is_fitted_or_without_samples() -> None:
    deblocking = Deblocking(BLOCK)
    picture = pictures(2, 0)
    assert torch.equal(deblocking(picture, None), picture)
    deblocking.fit(())
    assert torch.equal(deblocking(picture, None), picture)
    assert not list(deblocking.parameters())  # nothing for Adam


def test_fitting_equals_least_squares_of_numpy() -> None:
    """An independent loop over blocks, with their eight neighbours and the colours there."""
    picture, frames, colours = pictures(3, 1), pictures(3, 2), pictures(3, 3)
    deblocking = Deblocking(BLOCK, colours=True)
    deblocking.fit((picture[[k]], colours[[k]], frames[[k]]) for k in range(3))
    rows, wanted = [], []
    planes = [images.numpy().reshape(9, 24, 32) for images in (picture, colours, frames)]
    for own, shown, frame in zip(*planes, strict=True):  # each colour alike
        edge = np.pad(own, BLOCK)
        for i in range(6):
            for j in range(8):
                row = []
                for di in (-1, 0, 1):
                    for dj in (-1, 0, 1):
                        k, m = min(max(i + di, 0), 5), min(max(j + dj, 0), 7)
                        top, left = (k + 1) * BLOCK, (m + 1) * BLOCK
                        row.append(edge[top : top + BLOCK, left : left + BLOCK].ravel())
                        here = shown[k * BLOCK : (k + 1) * BLOCK, m * BLOCK : (m + 1) * BLOCK]
                        row.append([here.mean()])
                rows.append(np.concatenate([*row, [1.0]]))
                inside = slice(i * BLOCK, (i + 1) * BLOCK), slice(j * BLOCK, (j + 1) * BLOCK)
                wanted.append((frame - own)[inside].ravel())
    x, y = np.array(rows, np.float64), np.array(wanted, np.float64)
    solved = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ y)
    expected = (x @ solved).reshape(3, 3, 6, 8, BLOCK, BLOCK)
    expected = expected.transpose(0, 1, 2, 4, 3, 5).reshape(3, 3, 24, 32)
    added = (deblocking(picture, colours) - picture).numpy()
    np.testing.assert_allclose(added, expected, atol=1e-4)


def test_a_pattern_with_the_period_of_a_block_is_removed() -> None:
    frames = F.interpolate(pictures(24, 4)[:, :, :6, :8], scale_factor=4.0, mode="bilinear")
    weave = torch.rand(1, 3, BLOCK, BLOCK, generator=torch.Generator().manual_seed(5)) / 4
    woven = frames * (1 + weave.repeat(1, 1, 6, 8)) + weave.repeat(1, 1, 6, 8)
    deblocking = Deblocking(BLOCK)
    deblocking.fit([(woven[:20], None, frames[:20])])
    left = (deblocking(woven[20:], None) - frames[20:]).square().mean()
    assert left < (woven[20:] - frames[20:]).square().mean() / 50


def test_colours_have_to_be_given_where_they_are_read() -> None:
    with pytest.raises(ValueError, match="colours"):
        Deblocking(BLOCK, colours=True)(pictures(1, 0), None)
