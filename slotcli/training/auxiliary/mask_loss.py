"""Supervision of slot attention by instance masks: slots matched to instances over a whole clip.

Slot 0 is the background. Objects are assigned to the other slots by the Hungarian method (Kuhn
1955), as in DETR (Carion et al. 2020); matched slots learn from a weighted cross-entropy and Dice
(Milletari et al. 2016).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from slotcli.types import OUTSIDE, Size

_DICE_IN_COST = 4.0
_MOST_CROSS_ENTROPY = 10.0  # in the cost: beyond it a slot has nothing of an object anyway
# Added to an area, in cells of the grid, before its square root weighs an object down: large
# objects would else be all that counts, and specks as much as small objects.
_AREA_OFFSET = 40.0
_LEAST_AREA = 1.0  # cells of the grid over the clip: smaller ones are not matched
_EPSILON = 1e-8


def mask_targets(labels: UInt8[Tensor, "b t h w"], size: Size) -> Float[Tensor, "b k t i j"]:
    """The share of each cell of a grid of `size` that each label has: k labels, 0 the background.

    What is labelled OUTSIDE belongs to nothing: the cell's shares then sum to less than 1.
    """
    counted = labels != OUTSIDE
    count = int(labels[counted].max()) + 1 if counted.any() else 1
    one_hot = labels[:, None] == torch.arange(count, device=labels.device)[:, None, None, None]
    shares = F.adaptive_avg_pool2d(one_hot.flatten(0, 2)[:, None].float(), size)
    return shares[:, 0].unflatten(0, one_hot.shape[:3])


def mask_loss(
    attention: Float[Tensor, "b t n i j"], targets: Float[Tensor, "b k t i j"]
) -> Float[Tensor, ""]:
    """Weighted cross-entropy plus Dice of the matched slots, the mean over clips.

    `attention` sums to 1 over n. An object without a slot, where there are more of them than slots,
    is not counted; neither are slots without an object, which the softmax empties.
    """
    shares = attention.transpose(1, 2).flatten(2)
    truth = targets.flatten(2)
    log_shares = (shares + _EPSILON).log()
    areas = truth.sum(-1)
    matched = assignment(shares, log_shares, truth, areas)
    wanted = torch.einsum("bnk,bkp->bnp", matched, truth)
    taken = matched.sum(-1)
    area = (matched * areas[:, None]).sum(-1)
    weight = wanted * (area + _AREA_OFFSET).rsqrt()[..., None]
    total = weight.sum((1, 2)).clamp(min=_EPSILON)
    cross_entropy = -(log_shares * weight).sum((1, 2)) / total
    common = (shares * wanted).sum(-1)
    both = shares.square().sum(-1) + wanted.square().sum(-1)
    dice = (1 - (2 * common + 1) / (both + 1)) * taken
    return (cross_entropy + dice.sum(-1) / taken.sum(-1)).mean()


@torch.no_grad()
def assignment(
    shares: Float[Tensor, "b n p"],
    log_shares: Float[Tensor, "b n p"],
    truth: Float[Tensor, "b k p"],
    areas: Float[Tensor, "b k"],
) -> Float[Tensor, "b n k"]:
    """1 where a slot is to be an object or, slot 0, the background; 0 elsewhere.

    Where there are more objects than slots, the largest are assigned.
    """
    from scipy.optimize import linear_sum_assignment

    overlap = torch.einsum("bnp,bkp->bnk", shares, truth)
    dice = 2 * overlap / (shares.sum(-1)[..., None] + areas[:, None] + 1)
    cross_entropy = -torch.einsum("bnp,bkp->bnk", log_shares, truth) / (areas[:, None] + 1)
    cost = cross_entropy.clamp(max=_MOST_CROSS_ENTROPY) - _DICE_IN_COST * dice
    costs, sizes = cost.cpu().numpy(), areas.cpu().numpy()
    found = torch.zeros(cost.shape)
    found[:, 0, 0] = 1
    for clip in range(len(costs)):
        objects = [k for k in range(1, truth.shape[1]) if sizes[clip, k] > _LEAST_AREA]
        objects = sorted(objects, key=lambda k: -sizes[clip, k])[: shares.shape[1] - 1]
        if objects:
            rows, columns = linear_sum_assignment(costs[clip, 1:][:, objects])
            for row, column in zip(rows, columns, strict=True):
                found[clip, row + 1, objects[column]] = 1
    return found.to(shares)
