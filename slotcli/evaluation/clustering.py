"""Compares slots with a k-means of colours and positions of the same clip.

Slots that follow objects have a higher distortion than as many clusters: an object has several
colours, and a background has all positions. Slots with no higher distortion are mere clusters,
whatever the model. Colour clusters also consist of many connected components.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from slotcli.evaluation.baselines import kmeans_labels
from slotcli.evaluation.label_free import USED_SHARE

# Weight of the frame's side relative to a colour's full range: colour alone to mostly position.
_POSITION_WEIGHTS = (0.0, 0.5, 1.0, 2.0)
# Distortion per pixel of one step of 255: images with as many colours as clusters have none.
_ROUNDING = 1 / 255**2


@dataclass(frozen=True)
class KmeansComparison:
    """Slots of a clip compared with as many k-means clusters."""

    # The slots' distortion divided by the clusters', per weight of position; 1: they are equal.
    distortion: Float[np.ndarray, " weights"]
    # Fraction of pixels in their slot's largest connected component, without the largest slot.
    connected: float
    colour_clusters: UInt8[np.ndarray, "t h w"]


def compare_with_kmeans(
    frames: UInt8[np.ndarray, "t 3 h w"], labels: UInt8[np.ndarray, "t h w"]
) -> KmeansComparison | None:
    """Compare slots with k-means with as many clusters as there are used slots.

    None if fewer than two slots are used. Distortions are within each frame, so that slots without
    consistent identities over time can be compared too.
    """
    used = used_count(labels)
    if used < 2:
        return None
    ratios: list[float] = []
    colours = labels
    for weight in _POSITION_WEIGHTS:
        features = _features(frames, weight)
        clusters = kmeans_labels(features, used, 0)
        if weight == 0:
            colours = clusters
        rounding = labels.size * _ROUNDING
        of_slots, of_clusters = (_distortion(features, found) for found in (labels, clusters))
        ratios.append((of_slots + rounding) / (of_clusters + rounding))
    return KmeansComparison(np.array(ratios), _connected(labels), colours)


def used_count(labels: UInt8[np.ndarray, "t h w"]) -> int:
    """Number of slots that cover at least 1 % of a frame: the mean over frames, rounded."""
    fractions = [np.bincount(frame.ravel()) / frame.size for frame in labels]
    return round(float(np.mean([(fraction >= USED_SHARE).sum() for fraction in fractions])))


def _features(frames: UInt8[np.ndarray, "t 3 h w"], weight: float) -> Float[np.ndarray, "t h w d"]:
    t, _, h, w = frames.shape
    colour = frames.transpose(0, 2, 3, 1) / 255
    if not weight:
        return colour
    rows, columns = (np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w
    position = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1) * weight
    return np.concatenate((colour, np.broadcast_to(position, (t, h, w, 2))), axis=-1)


def _distortion(
    features: Float[np.ndarray, "t h w d"], labels: UInt8[np.ndarray, "t h w"]
) -> float:
    """Sum of squared distances of pixels to the mean of their label in their frame."""
    total = 0.0
    for frame, frame_labels in zip(features, labels, strict=True):
        flat = frame_labels.ravel()
        counts = np.maximum(np.bincount(flat), 1)
        for values in frame.reshape(-1, frame.shape[-1]).T:
            sums = np.bincount(flat, values)
            total += float((values**2).sum() - (sums**2 / counts).sum())
    return total


def _connected(labels: UInt8[np.ndarray, "t h w"]) -> float:
    largest_pieces = pixels = 0
    for frame in labels:
        counts = np.bincount(frame.ravel())
        for label in np.flatnonzero(counts):
            if label == counts.argmax():
                continue  # objects in front divide a background into pieces
            mask = (frame == label).astype(np.uint8)
            areas = cv2.connectedComponentsWithStats(mask, connectivity=4)[2][1:, cv2.CC_STAT_AREA]
            largest_pieces += int(areas.max())
            pixels += int(areas.sum())
    return largest_pieces / pixels if pixels else 1.0
