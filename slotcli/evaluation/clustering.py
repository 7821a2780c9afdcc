"""Are slots more than a k-means of colours and positions? Clusters of the same clip are the scale.

Slots that follow objects leave more distortion than as many clusters do: an object has several
colours, and a background has all positions. Slots that leave no more are clusters, whatever made
them. Clusters of colour also lie in many pieces.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from slotcli.evaluation.baselines import fitted_labels
from slotcli.evaluation.label_free import USED_SHARE

# How many of a colour's full ranges the frame's side counts: colour alone, to mostly position.
_POSITION_WEIGHTS = (0.0, 0.5, 1.0, 2.0)
# Of a pixel, one step of 255: pictures of as many colours as clusters have no distortion of theirs.
_ROUNDING = 1 / 255**2


@dataclass(frozen=True)
class Clustered:
    """What as many clusters as slots make of a clip, beside the slots."""

    # Of the slots over that of the clusters, by weight of position; 1: they are alike.
    distortion: Float[np.ndarray, " weights"]
    connected: float  # share of the pixels outside of the largest slot in its slot's largest piece
    colour_clusters: UInt8[np.ndarray, "t h w"]


def clustered(
    frames: UInt8[np.ndarray, "t 3 h w"], labels: UInt8[np.ndarray, "t h w"]
) -> Clustered | None:
    """Hold slots against k-means with as many clusters as there are used slots.

    None where fewer than two slots are used. Distortions are within each frame, so that slots which
    are found anew in every frame are told too.
    """
    used = used_count(labels)
    if used < 2:
        return None
    ratios: list[float] = []
    colours = labels
    for weight in _POSITION_WEIGHTS:
        features = _features(frames, weight)
        clusters = fitted_labels(features, used, 0)
        if weight == 0:
            colours = clusters
        rounding = labels.size * _ROUNDING
        own, other = (_distortion(features, found) for found in (labels, clusters))
        ratios.append((own + rounding) / (other + rounding))
    return Clustered(np.array(ratios), _connected(labels), colours)


def used_count(labels: UInt8[np.ndarray, "t h w"]) -> int:
    """How many slots cover at least 1 % of a frame: the mean over frames, rounded."""
    shares = [np.bincount(frame.ravel()) / frame.size for frame in labels]
    return round(float(np.mean([(share >= USED_SHARE).sum() for share in shares])))


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
    for frame, own in zip(features, labels, strict=True):
        flat = own.ravel()
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
                continue  # a background is cut to pieces by what stands before it
            mask = (frame == label).astype(np.uint8)
            areas = cv2.connectedComponentsWithStats(mask, connectivity=4)[2][1:, cv2.CC_STAT_AREA]
            largest_pieces += int(areas.max())
            pixels += int(areas.sum())
    return largest_pieces / pixels if pixels else 1.0
