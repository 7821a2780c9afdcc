"""Label-free auxiliary loss on attention: groups pixels with similar features over a clip."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Weights of colours in [-1, 1], of motion in [0, 1], and of positions in a frame of side 1. They
# are set so that a separate slot for borders, where motion is uncertain, gains less than a slot per
# object.
_COLOUR, _MOTION, _POSITION = 0.3, 0.4, 2.0
# Weight of the background term, against the many background slots that colour and position favour.
_BACKGROUND = 0.05


def grouping_loss(
    attention: Float[Tensor, "b t n i j"],
    features: Float[Tensor, "b t c h w"],
    weights: Float[Tensor, "b t h w"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared distance of each position's features to the mean features of its slots.

    The objective of fuzzy k-means (Dunn 1973, m = 1) with the attention as memberships and one mean
    per slot for the whole clip, so that a slot is penalised for switching objects. Features are
    averaged down to the attention's grid; `weights`, if given, weight the positions in slots' means
    and in the sum. 0 if features are constant within every slot.
    """
    points = _at_positions(features, attention)
    members = attention.transpose(1, 2).flatten(2)  # b n (t i j)
    if weights is not None:
        members = members * _at_positions(weights[:, :, None], attention)
    means = members @ points.transpose(1, 2) / (members.sum(2, keepdim=True) + 1e-6)
    # |x - c|^2 summed over slots without an array of [n, positions, c].
    squares = members.sum(1) * points.square().sum(1) - 2 * (members * (means @ points)).sum(1)
    squares = squares + (members * means.square().sum(2, keepdim=True)).sum(1)
    return squares.mean()


def motion_grouping_loss(
    attention: Float[Tensor, "b t n i j"],
    frames: Float[Tensor, "b t 3 h w"],
    moving: Float[Tensor, "b t h w"],
    background_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """Penalises slots that mix foreground with background, or moving objects far apart.

    The static background has no position feature and counts as one object, whatever its area;
    `background_weight` is that of the term that gathers it in one slot. Two moving objects of the
    same colour count as two. `frames` are in [-1, 1], `moving` is the result of `motion` for them.
    """
    h, w = frames.shape[-2:]
    rows = torch.linspace(0, 1, h, device=frames.device)[:, None].expand(h, w)
    columns = torch.linspace(0, 1, w, device=frames.device).expand(h, w)
    positions = torch.stack([rows, columns]).expand(*frames.shape[:2], 2, h, w)
    seen = torch.cat([_COLOUR * frames, _MOTION * moving[:, :, None]], dim=2)
    return (
        grouping_loss(attention, seen)
        + grouping_loss(attention, _POSITION * positions, moving)
        + background_weight * _BACKGROUND * dispersion(attention, 1 - moving)
    )


def dispersion(
    attention: Float[Tensor, "b t n i j"], weights: Float[Tensor, "b t h w"]
) -> Float[Tensor, ""]:
    """Gini impurity of the distribution of a clip's `weights` over slots, times their mean.

    The impurity is the probability that two samples from the weights are in different slots: 0 if
    one slot has all of them, 1 - 1 / n if n slots have equal parts.
    """
    masses = _at_positions(weights[:, :, None], attention)  # b 1 positions
    per_slot = (attention.transpose(1, 2).flatten(2) * masses).sum(2)
    impurity = 1 - (per_slot / (per_slot.sum(1, keepdim=True) + 1e-6)).square().sum(1)
    return (impurity * masses.mean(dim=(1, 2))).mean()


def _at_positions(
    features: Float[Tensor, "b t c h w"], attention: Float[Tensor, "b t n i j"]
) -> Float[Tensor, "b c positions"]:
    """Features of a clip's pixels averaged down to the positions of its attention."""
    size = attention.shape[-2:]
    small = F.interpolate(features.flatten(0, 1), size=size, mode="area")
    return small.unflatten(0, features.shape[:2]).transpose(1, 2).flatten(2)
