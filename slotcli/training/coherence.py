"""A label-free nudge for attention: what one slot looks at should be alike over a clip."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Beside motion and place, which make objects, colours of [-1, 1] count for little.
_COLOUR_SHARE = 0.3


def distortion(
    attention: Float[Tensor, "b t n i j"], features: Float[Tensor, "b t c h w"]
) -> Float[Tensor, ""]:
    """Mean squared distance of each position's features to the mean features of its slots.

    The objective of fuzzy k-means (Dunn 1973, m = 1) with the attention as memberships and one mean
    a slot for the whole clip, so that a slot pays for changing objects on the way. Features are
    averaged down to the attention's grid. 0 where every slot sees the same everywhere.
    """
    size = attention.shape[-2:]
    small = F.interpolate(features.flatten(0, 1), size=size, mode="area")
    points = small.unflatten(0, features.shape[:2]).transpose(1, 2).flatten(2)  # b c (t i j)
    members = attention.transpose(1, 2).flatten(2)  # b n (t i j)
    means = members @ points.transpose(1, 2) / (members.sum(2, keepdim=True) + 1e-6)
    # |x - c|^2 summed over slots, with memberships that sum to 1: no [n, positions, c] is formed.
    squares = points.square().sum(1) - 2 * (members * (means @ points)).sum(1)
    squares = squares + (members * means.square().sum(2, keepdim=True)).sum(1)
    return squares.mean()


def moving_things(
    frames: Float[Tensor, "b t 3 h w"], moving: Float[Tensor, "b t h w"]
) -> Float[Tensor, "b t 6 h w"]:
    """Features of a clip that tell what moves from what rests, and of the former, where it is.

    What rests has no place, so that it stays whole however large it is; two moving things of one
    colour are two. `frames` are in [-1, 1], `moving` is `training.motion` of them.
    """
    h, w = frames.shape[-2:]
    rows = torch.linspace(-0.5, 0.5, h, device=frames.device)[:, None].expand(h, w)
    columns = torch.linspace(-0.5, 0.5, w, device=frames.device).expand(h, w)
    share = moving[:, :, None]
    return torch.cat([_COLOUR_SHARE * frames, share * torch.stack([rows, columns]), share], dim=2)
