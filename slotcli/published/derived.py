"""Tensors that the authors' models store, and that ours derive from their definition."""

import torch
from torch import Tensor

from slotcli.decoders.spatial_broadcast import DOUBLINGS
from slotcli.diffusion.schedule import Schedule
from slotcli.encoder.backbone import ResNet18
from slotcli.layers import PositionEmbedding
from slotcli.published.feature_models import is_feature_model
from slotcli.spec import SlotModelSpec, SpatialBroadcastSpec, TokenTransformerSpec
from slotcli.types import Size


def derived_tensors(spec: SlotModelSpec) -> dict[str, Tensor]:
    """The authors' name and the value of every tensor determined by a model's definition."""
    if is_feature_model(spec):
        return {}
    tensors = {"encoder_pos_embedding.grid": _grid(spec.size, ResNet18.stride)}
    decoder = spec.decoder
    if isinstance(decoder, SpatialBroadcastSpec):
        tensors["decoder_pos_embedding.grid"] = _grid(spec.size, 2**DOUBLINGS)
    elif isinstance(decoder, TokenTransformerSpec):
        height, width = (side // decoder.codec.downsampling for side in spec.size)
        hidden = torch.ones(height * width, height * width, dtype=torch.bool).triu(1)
        for block in range(decoder.blocks):
            tensors[f"trans_decoder.tf_dec.blocks.{block}.self_attn_mask"] = hidden
    else:
        tensors |= {f"dm_decoder.{name}": value for name, value in _noise_levels().items()}
    return tensors


def _grid(size: Size, stride: int) -> Tensor:
    return PositionEmbedding(1, (size[0] // stride, size[1] // stride)).grid[None]


def _noise_levels() -> dict[str, Tensor]:
    kept = Schedule().alphas_bar.double()
    before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    betas = 1 - kept / before
    variance = betas * (1 - before) / (1 - kept)
    return {
        "betas": betas,
        "alphas_bar": kept,
        "alphas_bar_prev": before,
        "sqrt_alphas_bar": kept.sqrt(),
        "sqrt_one_minus_alphas_bar": (1 - kept).sqrt(),
        "log_one_minus_alphas_bar": (1 - kept).log(),
        "sqrt_recip_alphas_bar": (1 / kept).sqrt(),
        "sqrt_recipm1_alphas_bar": (1 / kept - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - kept),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - kept),
    }
