"""A label-free nudge for attention: what one slot looks at should be of one colour over a clip."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def colour_distortion(
    attention: Float[Tensor, "b t n i j"], frames: Float[Tensor, "b t 3 h w"]
) -> Float[Tensor, ""]:
    """Mean squared distance of each position's colour to the mean colours of its slots.

    The objective of fuzzy k-means (Dunn 1973, m = 1) with the attention as memberships and one mean
    a slot for the whole clip, so that a slot pays for changing objects on the way. Frames are in
    [-1, 1] and are averaged down to the attention's grid. 0 where every slot sees a flat colour.
    """
    size = attention.shape[-2:]
    small = F.interpolate(frames.flatten(0, 1), size=size, mode="area")
    colours = small.unflatten(0, frames.shape[:2]).transpose(1, 2).flatten(2)  # b 3 (t i j)
    members = attention.transpose(1, 2).flatten(2)  # b n (t i j)
    means = members @ colours.transpose(1, 2) / (members.sum(2, keepdim=True) + 1e-6)
    # |x - c|^2 summed over slots, with memberships that sum to 1: no [n, positions, 3] is formed.
    squares = colours.square().sum(1) - 2 * (members * (means @ colours)).sum(1)
    squares = squares + (members * means.square().sum(2, keepdim=True)).sum(1)
    return squares.mean()
