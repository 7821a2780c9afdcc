"""Losses of decoders of features: their reconstruction, and similarity to the next frame."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from slotcli.decoders.patch_mlp import PatchMlp
from slotcli.decoders.slot_mixer import SlotMixer
from slotcli.types import SlotTrack


def feature_losses(
    decoder: PatchMlp | SlotMixer, track: SlotTrack, temperature: float
) -> dict[str, Float[Tensor, ""]]:
    """The losses that a decoder is for, by name: `features`, `similarity`.

    `features` is the mean squared error of the backbone's features; `similarity` is there where
    the track has its keys too. Raises ValueError for a track without features.
    """
    if track.features is None:
        raise ValueError("the encoder keeps the backbone's features while gradients are computed")
    given = track.features.flatten(3).transpose(2, 3)  # b t p c
    made = decoder.reconstruction(track.slots.flatten(0, 1)).unflatten(0, given.shape[:2])
    losses = {}
    if decoder.features:
        wanted = given[..., : decoder.features]
        losses["features"] = F.mse_loss(made[..., : decoder.features], wanted)
    if isinstance(decoder, SlotMixer) and track.keys is not None:
        keys = track.keys.flatten(3).transpose(2, 3)
        target = time_similarity(keys, temperature)
        losses["similarity"] = similarity_loss(made[:, :-1, :, decoder.features :], target)
    return losses


@torch.no_grad()
def time_similarity(
    keys: Float[Tensor, "b t p c"], temperature: float
) -> Float[Tensor, "b t-1 p q"]:
    """For each patch, how its similarity is shared among the patches of the next frame.

    A softmax of cosines over a temperature; patches that point away have no share, and where all
    do, all have the same. Zadaianchuk et al. 2023, Eq. 3.
    """
    directions = F.normalize(keys, dim=-1)
    cosines = directions[:, :-1] @ directions[:, 1:].mT
    away = cosines < 0
    logits = (cosines / temperature).masked_fill(away, -torch.inf)
    return logits.masked_fill(away.all(-1, keepdim=True), 0.0).softmax(-1)


def similarity_loss(
    logits: Float[Tensor, "b s p q"], target: Float[Tensor, "b s p q"]
) -> Float[Tensor, ""]:
    """Cross-entropy of the predicted shares, a mean over clips, pairs of frames and patches."""
    return -(target * logits.log_softmax(-1)).sum(-1).mean()
