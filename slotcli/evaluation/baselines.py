"""Trivial baselines for comparison with every model.

Each is a function (frames, num_slots, seed) -> labels below num_slots. Deterministic ones take the
seed too, so that all in BASELINES have one signature.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

FIT_PIXELS = 4096  # per clip, sampled to fit the k-means
FIT_STEPS = 20

Baseline = Callable[[UInt8[Tensor, "t 3 h w"], int, int], UInt8[np.ndarray, "t h w"]]


def one_slot(
    frames: UInt8[Tensor, "t 3 h w"], num_slots: int, seed: int
) -> UInt8[np.ndarray, "t h w"]:
    """Give every pixel to slot 0."""
    t, _, h, w = frames.shape
    return np.zeros((t, h, w), np.uint8)


def stripes(
    frames: UInt8[Tensor, "t 3 h w"], num_slots: int, seed: int
) -> UInt8[np.ndarray, "t h w"]:
    """Cut the frame into num_slots vertical stripes of one width."""
    t, _, h, w = frames.shape
    return _fixed(np.tile(_bins(w, num_slots), (h, 1)), t)


def grid(frames: UInt8[Tensor, "t 3 h w"], num_slots: int, seed: int) -> UInt8[np.ndarray, "t h w"]:
    """Cut the frame into num_slots cells in rows, as close to square as their number allows.

    If the rows cannot have equal numbers of cells, the first rows have one more.
    """
    t, _, h, w = frames.shape
    rows = round(num_slots**0.5)
    cells_in_row = [len(part) for part in np.array_split(np.arange(num_slots), rows)]
    first_cell = np.cumsum([0, *cells_in_row])
    lines = [first_cell[row] + _bins(w, cells_in_row[row]) for row in _bins(h, rows)]
    return _fixed(np.array(lines), t)


def voronoi(
    frames: UInt8[Tensor, "t 3 h w"], num_slots: int, seed: int
) -> UInt8[np.ndarray, "t h w"]:
    """Give every pixel to the nearest of num_slots random points, fixed over time."""
    t, _, h, w = frames.shape
    points = np.random.default_rng(seed).random((num_slots, 2)) * (h, w)
    pixels = np.indices((h, w)).reshape(2, -1).T + 0.5
    return _fixed(_nearest(pixels, points).reshape(h, w), t)


def kmeans_colour(
    frames: UInt8[Tensor, "t 3 h w"], num_slots: int, seed: int
) -> UInt8[np.ndarray, "t h w"]:
    """Cluster the clip's pixels by colour, once over all frames."""
    return kmeans_labels(frames.permute(0, 2, 3, 1).numpy() / 255, num_slots, seed)


def kmeans_colour_position(
    frames: UInt8[Tensor, "t 3 h w"], num_slots: int, seed: int
) -> UInt8[np.ndarray, "t h w"]:
    """Cluster the clip's pixels by colour and position, each coordinate scaled to [0, 1]."""
    t, _, h, w = frames.shape
    position = np.stack(np.meshgrid(np.linspace(0, 1, h), np.linspace(0, 1, w), indexing="ij"), -1)
    colour = frames.permute(0, 2, 3, 1).numpy() / 255
    features = np.concatenate((colour, np.broadcast_to(position, (t, h, w, 2))), axis=-1)
    return kmeans_labels(features, num_slots, seed)


def mosaic(picture: UInt8[Tensor, "3 h w"], colours: int, *, seed: int) -> UInt8[Tensor, "3 h w"]:
    """Replace colours by the means of at most `colours` clusters in colour and position."""
    labels = torch.from_numpy(kmeans_colour_position(picture[None], colours, seed)[0]).long()
    one_hot = torch.nn.functional.one_hot(labels.flatten(), colours).double()
    means = (picture.flatten(1).double() @ one_hot) / one_hot.sum(0).clamp(min=1)
    return means.round().to(torch.uint8)[:, labels]


BASELINES: dict[str, Baseline] = {
    "one slot": one_slot,
    "stripes": stripes,
    "grid": grid,
    "voronoi": voronoi,
    "k-means colour": kmeans_colour,
    "k-means colour+place": kmeans_colour_position,
}


def _bins(length: int, count: int) -> np.ndarray:
    """The bin, of `count` equal ones, of each of `length` positions."""
    return np.arange(length) * count // length


def _fixed(labels: np.ndarray, t: int) -> UInt8[np.ndarray, "t h w"]:
    return np.tile(labels.astype(np.uint8), (t, 1, 1))


def _nearest(points: Float[np.ndarray, "p d"], centres: Float[np.ndarray, "n d"]) -> np.ndarray:
    # |point - centre|^2 without |point|^2, which is the same for every centre.
    return ((centres**2).sum(1) - 2 * points @ centres.T).argmin(1)


def kmeans_labels(
    features: Float[np.ndarray, "t h w d"], num_slots: int, seed: int
) -> UInt8[np.ndarray, "t h w"]:
    """Cluster a clip's pixels by k-means, fitted on FIT_PIXELS that are sampled with `seed`."""
    points = features.reshape(-1, features.shape[-1])
    rng = np.random.default_rng(seed)
    centres = _kmeans(points[rng.integers(len(points), size=FIT_PIXELS)], num_slots, rng)
    # Frame by frame, to bound the memory of the distances to all centres.
    labels = [_nearest(frame.reshape(-1, frame.shape[-1]), centres) for frame in features]
    return np.stack(labels).astype(np.uint8).reshape(features.shape[:-1])


def _kmeans(
    points: Float[np.ndarray, "p d"], count: int, rng: np.random.Generator
) -> Float[np.ndarray, "n d"]:
    """Lloyd's iterations after a k-means++ initialisation (Arthur and Vassilvitskii 2007)."""
    centres = points[:1]
    squared = np.full(len(points), np.inf)  # distances to the nearest centre so far
    while len(centres) < count:
        squared = np.minimum(squared, ((points - centres[-1]) ** 2).sum(-1))
        weights = squared + 1e-12  # all equal: any point
        centres = np.vstack((centres, points[rng.choice(len(points), p=weights / weights.sum())]))
    for _ in range(FIT_STEPS):
        labels = _nearest(points, centres)
        sizes = np.bincount(labels, minlength=count)
        sums = np.stack([np.bincount(labels, axis, minlength=count) for axis in points.T], 1)
        # A centre without points stays unchanged: fewer clusters are a valid result.
        moved = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres
