"""Removes small connected components of masks, or all but the largest, by filling them."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from slotcli.types import OUTSIDE

_CONNECTIVITY = 4


@dataclass(frozen=True)
class Pieces:
    """Keeps components of at least `least` pixels, or with `largest` only one per object.

    A `least` below 1 is a fraction of the frame. Label 0, the background, may have any number of
    components.
    """

    least: float = 0.0
    largest: bool = False

    def tidied(self, labels: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        """Labels in which the pixels of all other components take the nearest remaining label.

        Pixels OUTSIDE are unchanged and never the nearest. The largest component always remains.
        """
        if not (self.least or self.largest):
            return labels
        least = self.least if self.least >= 1 else self.least * labels.size
        taken = np.zeros(labels.shape, bool)
        greatest, largest = 0, None
        for label in np.flatnonzero(np.bincount(labels.ravel(), minlength=OUTSIDE)[:OUTSIDE]):
            box, pieces, areas = _pieces(labels, int(label))
            stays = areas >= least
            if self.largest and label:
                stays &= np.arange(len(areas)) == areas.argmax()
            taken[box] |= np.append(False, ~stays)[pieces]
            if areas.max() > greatest:
                greatest, largest = areas.max(), (box, pieces == areas.argmax() + 1)
        if largest is not None:
            box, piece = largest
            taken[box] &= ~piece
        return _filled(labels, taken) if taken.any() else labels


def _pieces(
    labels: UInt8[np.ndarray, "h w"], label: int
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Bounding box of a present label, component number (from 1) of each pixel, and areas."""
    mask = (labels == label).view(np.uint8)
    left, top, width, height = cv2.boundingRect(mask)
    box = (slice(top, top + height), slice(left, left + width))
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask[box], connectivity=_CONNECTIVITY)
    return box, pieces, stats[1:, cv2.CC_STAT_AREA]


def _filled(
    labels: UInt8[np.ndarray, "h w"], taken: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w"]:
    away = taken | (labels == OUTSIDE)
    _, nearest = cv2.distanceTransformWithLabels(
        away.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label_of = np.zeros(nearest.max() + 1, np.uint8)
    label_of[nearest[~away]] = labels[~away]
    return np.where(taken, label_of[nearest], labels)
