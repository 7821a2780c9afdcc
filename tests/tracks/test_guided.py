from pathlib import Path

import cv2
import numpy as np
import pytest

from slotcli.tracks import guided
from slotcli.tracks.guided import guided_winners
from slotcli.tracks.masks import read_masks
from slotcli.video.reader import open_clip

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def textbook(shares, frame, radius, epsilon):
    """He et al. 2010, equations 19 to 21, window by window, in float64 at the frame's own size."""
    height, width, _ = frame.shape
    pad = radius
    guide = np.pad(frame / 255.0, ((pad, pad), (pad, pad), (0, 0)), mode="symmetric")
    n = len(shares)
    coefficients = np.zeros((n, height, width, 4))
    padded = np.pad(shares.astype(float), ((0, 0), (pad, pad), (pad, pad)), mode="symmetric")
    for y in range(height):
        for x in range(width):
            window = (slice(y, y + 2 * pad + 1), slice(x, x + 2 * pad + 1))
            colours = guide[window].reshape(-1, 3)
            own = padded[:, *window].reshape(n, -1)
            sigma = np.cov(colours.T, bias=True) + epsilon * np.eye(3)
            mean = colours.mean(0)
            covariance = own @ colours / len(colours) - own.mean(1)[:, None] * mean
            weights = np.linalg.solve(sigma, covariance.T).T
            coefficients[:, y, x, :3] = weights
            coefficients[:, y, x, 3] = own.mean(1) - weights @ mean
    around = ((0, 0), (pad, pad), (pad, pad), (0, 0))
    coefficients = np.pad(coefficients, around, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(
        coefficients, (2 * pad + 1, 2 * pad + 1), axis=(1, 2)
    )
    mean = windows.mean((-1, -2))
    return (mean[..., :3] * (frame / 255.0)).sum(-1) + mean[..., 3]


def random_frame(seed, size):
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 256, (size[0] // 4, size[1] // 4, 3), np.uint8)
    return cv2.resize(rough, size[::-1], interpolation=cv2.INTER_CUBIC)


def random_shares(seed, slots, size):
    found = np.random.default_rng(seed).normal(0, 1, (slots, *size))
    return (np.exp(found) / np.exp(found).sum(0)).astype(np.float32)


def test_at_full_size_it_is_the_filter_of_the_paper(monkeypatch):
    monkeypatch.setattr(guided, "_MAY_WIN", 0.0)
    frame, shares = random_frame(0, (16, 20)), random_shares(1, 3, (16, 20))
    for radius, epsilon in ((1, 1e-2), (2, 1e-3)):
        expected = textbook(shares, frame, radius, epsilon)
        found = guided_winners(shares, frame, (16, 20), radius, epsilon)
        top = np.sort(expected, axis=0)
        clear = top[-1] - top[-2] > 1e-4
        assert clear.mean() > 0.95
        np.testing.assert_array_equal(found[clear], expected.argmax(0)[clear])


def test_bands_make_no_difference(monkeypatch):
    frame, shares = random_frame(2, (100, 68)), random_shares(3, 6, (12, 8))
    whole = guided_winners(shares, frame, (48, 32))
    assert len(np.unique(whole)) > 3
    for rows in (1, 7, 33):
        monkeypatch.setattr(guided, "_BAND", rows)
        np.testing.assert_array_equal(guided_winners(shares, frame, (48, 32)), whole)


def test_borders_follow_the_frame_where_the_grid_is_coarse():
    y, x = np.mgrid[:96, :128]
    inside = (y - 45) ** 2 + (x - 61) ** 2 < 30**2
    frame = np.where(inside[..., None], (200, 90, 40), (40, 120, 160)).astype(np.uint8)
    share = cv2.resize(inside.astype(np.float32), (16, 12), interpolation=cv2.INTER_AREA)
    shares = np.stack([1 - share, share])
    smooth = cv2.resize(share, (128, 96), interpolation=cv2.INTER_LINEAR) > 0.5
    found = guided_winners(shares, frame, (48, 64)) == 1
    assert (found != inside).sum() < 0.25 * (smooth != inside).sum()


def test_a_frame_without_edges_and_a_slot_alone():
    flat = np.full((33, 47, 3), 128, np.uint8)
    shares = np.zeros((3, 8, 8), np.float32)
    shares[1] = 1
    assert (guided_winners(shares, flat, (32, 32)) == 1).all()
    shares[:, :, :4] = np.array([1, 0, 0], np.float32)[:, None, None]
    found = guided_winners(shares, flat, (32, 32))
    assert (found[:, :20] == 0).all()
    assert (found[:, -20:] == 1).all()


@pytest.mark.parametrize("tier", ["tier-a", "tier-c", "tier-e"])
def test_slots_far_behind_are_left_out_and_change_hardly_a_pixel(tier, monkeypatch):
    with open_clip(SAMPLES / f"{tier}.mp4") as reader:
        frame = next(iter(reader.chunks(1))).frames[0]
    truth = next(iter(read_masks(SAMPLES / f"{tier}.masks.mkv")))
    frame = cv2.resize(frame, (640, 480), interpolation=cv2.INTER_CUBIC)
    rng = np.random.default_rng(4)
    logits = np.stack(
        [cv2.resize((truth == slot).astype(np.float32), (32, 24)) for slot in range(8)]
    )
    noisy = np.exp(6 * logits + rng.normal(size=logits.shape))
    shares = (noisy / noisy.sum(0)).astype(np.float32)
    found = guided_winners(shares, frame, (96, 128))
    monkeypatch.setattr(guided, "_MARGIN", np.inf)
    everywhere = guided_winners(shares, frame, (96, 128))
    assert len(np.unique(everywhere)) > 2
    assert (found != everywhere).mean() < 5e-4
