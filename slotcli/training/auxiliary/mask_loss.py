"""Supervises slot attention by instance masks, matched to slots over a whole clip.

Slot 0 is the background. Objects are assigned to the other slots by the Hungarian method (Kuhn
1955), as in DETR (Carion et al. 2020); the loss of matched slots is a weighted cross-entropy plus
Dice (Milletari et al. 2016).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from slotcli.types import OUTSIDE, Size

_DICE_IN_COST = 4.0
_MOST_CROSS_ENTROPY = 10.0  # in the cost: beyond it a slot does not overlap the object at all
# Each object is weighted by 1 / sqrt(area + offset), with areas in grid cells: without the root
# large objects would dominate, and without the offset specks would.
_AREA_OFFSET = 40.0
_LEAST_AREA = 1.0  # cells of the grid over the clip: smaller ones are not matched
_EPSILON = 1e-8


def mask_targets(labels: UInt8[Tensor, "b t h w"], size: Size) -> Float[Tensor, "b k t i j"]:
    """The fraction of each cell of a grid of `size` under each of k labels; 0 is the background.

    Pixels labelled OUTSIDE have no label: the fractions of their cell sum to less than 1.
    """
    counted = labels != OUTSIDE
    count = int(labels[counted].max()) + 1 if counted.any() else 1
    one_hot = labels[:, None] == torch.arange(count, device=labels.device)[:, None, None, None]
    fractions = F.adaptive_avg_pool2d(one_hot.flatten(0, 2)[:, None].float(), size)
    return fractions[:, 0].unflatten(0, one_hot.shape[:3])


def mask_loss(
    attention: Float[Tensor, "b t n i j"], targets: Float[Tensor, "b k t i j"]
) -> Float[Tensor, ""]:
    """Weighted cross-entropy plus Dice of the matched slots, the mean over clips.

    `attention` sums to 1 over n. Objects without a slot, if there are more objects than slots, do
    not count; neither do slots without an object, because the softmax empties them.
    """
    masks = attention.transpose(1, 2).flatten(2)
    truth = targets.flatten(2)
    log_masks = (masks + _EPSILON).log()
    areas = truth.sum(-1)
    matching = assignment(masks, log_masks, truth, areas)
    wanted = torch.einsum("bnk,bkp->bnp", matching, truth)
    matched = matching.sum(-1)
    area = (matching * areas[:, None]).sum(-1)
    weight = wanted * (area + _AREA_OFFSET).rsqrt()[..., None]
    total = weight.sum((1, 2)).clamp(min=_EPSILON)
    cross_entropy = -(log_masks * weight).sum((1, 2)) / total
    intersection = (masks * wanted).sum(-1)
    squares = masks.square().sum(-1) + wanted.square().sum(-1)
    dice = (1 - (2 * intersection + 1) / (squares + 1)) * matched
    return (cross_entropy + dice.sum(-1) / matched.sum(-1)).mean()


@torch.no_grad()
def assignment(
    masks: Float[Tensor, "b n p"],
    log_masks: Float[Tensor, "b n p"],
    truth: Float[Tensor, "b k p"],
    areas: Float[Tensor, "b k"],
) -> Float[Tensor, "b n k"]:
    """Matching of slots to labels: 1 for a matched pair, 0 elsewhere; slot 0 is the background.

    If there are more objects than slots, the largest are assigned.
    """
    from scipy.optimize import linear_sum_assignment

    overlap = torch.einsum("bnp,bkp->bnk", masks, truth)
    dice = 2 * overlap / (masks.sum(-1)[..., None] + areas[:, None] + 1)
    cross_entropy = -torch.einsum("bnp,bkp->bnk", log_masks, truth) / (areas[:, None] + 1)
    cost = cross_entropy.clamp(max=_MOST_CROSS_ENTROPY) - _DICE_IN_COST * dice
    costs, sizes = cost.cpu().numpy(), areas.cpu().numpy()
    found = torch.zeros(cost.shape)
    found[:, 0, 0] = 1
    for clip in range(len(costs)):
        objects = [k for k in range(1, truth.shape[1]) if sizes[clip, k] > _LEAST_AREA]
        objects = sorted(objects, key=lambda k: -sizes[clip, k])[: masks.shape[1] - 1]
        if objects:
            rows, columns = linear_sum_assignment(costs[clip, 1:][:, objects])
            for row, column in zip(rows, columns, strict=True):
                found[clip, row + 1, objects[column]] = 1
    return found.to(masks)
