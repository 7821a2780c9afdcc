"""A label-free nudge for attention: what one slot looks at should be alike over a clip."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Shares of colours in [-1, 1], of motion in [0, 1], and of places in a picture of side 1. A slot
# of its own for where motion is uncertain, the borders, must gain less than one for each thing.
_COLOUR, _MOTION, _PLACE = 0.3, 0.4, 2.0
# What a background pays that is in slots of its own making, of which colour and place make many.
_REST = 0.05


def distortion(
    attention: Float[Tensor, "b t n i j"],
    features: Float[Tensor, "b t c h w"],
    weights: Float[Tensor, "b t h w"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared distance of each position's features to the mean features of its slots.

    The objective of fuzzy k-means (Dunn 1973, m = 1) with the attention as memberships and one mean
    a slot for the whole clip, so that a slot pays for changing objects on the way. Features are
    averaged down to the attention's grid; positions count by their `weights`, if given, in slots'
    means and in the sum. 0 where every slot sees the same everywhere.
    """
    points = _at_positions(features, attention)
    members = attention.transpose(1, 2).flatten(2)  # b n (t i j)
    if weights is not None:
        members = members * _at_positions(weights[:, :, None], attention)
    means = members @ points.transpose(1, 2) / (members.sum(2, keepdim=True) + 1e-6)
    # |x - c|^2 summed over slots: no [n, positions, c] is formed.
    squares = members.sum(1) * points.square().sum(1) - 2 * (members * (means @ points)).sum(1)
    squares = squares + (members * means.square().sum(2, keepdim=True)).sum(1)
    return squares.mean()


def motion_distortion(
    attention: Float[Tensor, "b t n i j"],
    frames: Float[Tensor, "b t 3 h w"],
    moving: Float[Tensor, "b t h w"],
    rest: float = 1.0,
) -> Float[Tensor, ""]:
    """Penalty on slots that mix moving with still regions, or moving objects of different places.

    Still regions have no position feature and count as one object, whatever their area, with the
    weight `rest`; two moving objects of the same colour count as two. `frames` are in [-1, 1],
    `moving` is `training.motion` of them.
    """
    h, w = frames.shape[-2:]
    rows = torch.linspace(0, 1, h, device=frames.device)[:, None].expand(h, w)
    columns = torch.linspace(0, 1, w, device=frames.device).expand(h, w)
    places = torch.stack([rows, columns]).expand(*frames.shape[:2], 2, h, w)
    seen = torch.cat([_COLOUR * frames, _MOTION * moving[:, :, None]], dim=2)
    return (
        distortion(attention, seen)
        + distortion(attention, _PLACE * places, moving)
        + rest * _REST * dispersion(attention, 1 - moving)
    )


def dispersion(
    attention: Float[Tensor, "b t n i j"], weights: Float[Tensor, "b t h w"]
) -> Float[Tensor, ""]:
    """How far a clip's `weights` are from being all in one slot, times their mean.

    The first is the chance that two draws from them are in two slots (Gini's index): 0 if one slot
    has all of them, 1 - 1 / n if each of n has its share.
    """
    shares = _at_positions(weights[:, :, None], attention)  # b 1 positions
    held = (attention.transpose(1, 2).flatten(2) * shares).sum(2)
    apart = 1 - (held / (held.sum(1, keepdim=True) + 1e-6)).square().sum(1)
    return (apart * shares.mean(dim=(1, 2))).mean()


def _at_positions(
    features: Float[Tensor, "b t c h w"], attention: Float[Tensor, "b t n i j"]
) -> Float[Tensor, "b c positions"]:
    """Features of a clip's pixels averaged down to the positions of its attention."""
    size = attention.shape[-2:]
    small = F.interpolate(features.flatten(0, 1), size=size, mode="area")
    return small.unflatten(0, features.shape[:2]).transpose(1, 2).flatten(2)
