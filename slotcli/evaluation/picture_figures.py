"""Compares labels with their frames: motion, edges, and k-means of the same clips."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from slotcli.evaluation.clustering import compare_with_kmeans
from slotcli.evaluation.label_free import edge_alignment
from slotcli.evaluation.motion_following import FollowingCount, count_following
from slotcli.evaluation.segmenter import resize_frames
from slotcli.types import Size

MEASURED: Size = (64, 64)  # pixels, at which the limits were calibrated
MAX_CLIPS = 32  # enough for stable figures, in a few seconds
_LEAST = 1e-3  # lower bound of arguments of a logarithm


@dataclass(frozen=True)
class PictureFigures:
    """Figures of `slotcli.evaluation.verdict` by their names; None where a figure is undefined."""

    follows_motion: float | None = None
    edges_over_kmeans: float | None = None
    beyond_kmeans: float | None = None
    together: float | None = None
    connected: float | None = None


def picture_figures(
    clips: Iterable[tuple[UInt8[Tensor, "t 3 h w"], UInt8[np.ndarray, "t h w"]]],
) -> PictureFigures:
    """Measure frames and labels of the first MAX_CLIPS clips, of any size, at MEASURED.

    `follows_motion` is the fraction of deciding pixels whose label follows the motion.
    `edges_over_kmeans` is the logarithm of edge alignment over that of k-means of the colours with
    as many clusters. `beyond_kmeans` is the distortion over that of k-means (a geometric mean over
    clips, the least over weights of position) times the fraction of connected pixels. `together` is
    the sum of the first two and the logarithm of the third. `connected` is the fraction of pixels
    in their slot's largest connected component, without a frame's largest slot.
    """
    moved = FollowingCount(0, 0)
    pictures: list[Tensor] = []
    slots: list[np.ndarray] = []
    clusters: list[np.ndarray] = []
    distortions: list[np.ndarray] = []
    connected: list[float] = []
    for number, (clip, own) in enumerate(clips):
        if number == MAX_CLIPS:
            break
        rows, columns = _centres(own)
        small, labels = resize_frames(clip, MEASURED), labels_at_size(own)
        moved += count_following(small.numpy(), labels)
        sampled = clip[
            :, :, torch.from_numpy(rows)[:, None], torch.from_numpy(columns)
        ]  # the same pixels as those of the labels
        beside = compare_with_kmeans(sampled.numpy(), labels)
        if beside is None:
            continue
        pictures.append(sampled)
        slots.append(labels)
        clusters.append(beside.colour_clusters)
        distortions.append(beside.distortion)
        connected.append(beside.connected)
    follows = moved.share
    if not pictures:
        return PictureFigures(follows)
    edges = _edges(torch.cat(pictures)[None], np.concatenate(slots), np.concatenate(clusters))
    ratios = np.exp(np.log(np.maximum(distortions, _LEAST)).mean(0))
    beyond = max(float(ratios.min() * np.mean(connected)), _LEAST)
    together = None if follows is None or edges is None else follows + edges + math.log(beyond)
    return PictureFigures(follows, edges, beyond, together, float(np.mean(connected)))


def _edges(
    frames: UInt8[Tensor, "1 t 3 h w"],
    labels: UInt8[np.ndarray, "t h w"],
    clusters: UInt8[np.ndarray, "t h w"],
) -> float | None:
    of_slots, of_clusters = (edge_alignment(frames, found[None]) for found in (labels, clusters))
    if of_slots is None or of_clusters is None or of_clusters <= 1:
        return None
    return float(np.log(max(of_slots, _LEAST)) / np.log(of_clusters))


def labels_at_size(labels: UInt8[np.ndarray, "t h w"]) -> UInt8[np.ndarray, "t height width"]:
    """Labels at MEASURED: each pixel takes the label at its own centre."""
    rows, columns = _centres(labels)
    return labels[:, rows[:, None], columns]


def _centres(labels: UInt8[np.ndarray, "t h w"]) -> list[Int64[np.ndarray, " side"]]:
    """The rows, and the columns, that hold the centres of the pixels at MEASURED."""
    return [
        ((2 * np.arange(wanted) + 1) * given // (2 * wanted)).astype(np.int64)
        for wanted, given in zip(MEASURED, labels.shape[1:], strict=True)
    ]
