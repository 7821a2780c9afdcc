"""From a spec to networks: the only module that knows both."""

import torch

from slotcli.codecs.vqvae import Vqvae
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.diffusion.unet import UNet
from slotcli.encoder.backbone import CompactCnn, ResNet18
from slotcli.encoder.encoder import SlotEncoder
from slotcli.encoder.predictor import TransformerPredictor
from slotcli.errors import ConfigError
from slotcli.model import SlotModel
from slotcli.spec import (
    BackboneSpec,
    CodecModelSpec,
    LatentDiffusionSpec,
    ResNet18Spec,
    SlotModelSpec,
    VqvaeSpec,
)
from slotcli.types import Size


def build_codec(spec: CodecModelSpec) -> Vqvae:
    """An untrained codec. Raises ConfigError where sizes do not divide as they must."""
    _require_divisible(spec, spec.codec.downsampling)
    return _vqvae(spec.codec)


def build_model(spec: SlotModelSpec) -> SlotModel:
    """An untrained slot model with an untrained codec. Raises ConfigError as `build_codec` does."""
    backbone = _backbone(spec.encoder.backbone)
    coarsest = spec.decoder.codec.downsampling * 2 ** (len(spec.decoder.multipliers) - 1)
    _require_divisible(spec, 2 * backbone.stride, coarsest)
    predictor = spec.encoder.predictor
    encoder = SlotEncoder(
        backbone,
        None
        if predictor is None
        else TransformerPredictor(spec.slot_dim, predictor.layers, predictor.identity_start),
        size=spec.size,
        num_slots=spec.num_slots,
        slot_dim=spec.slot_dim,
        iterations=spec.encoder.iterations,
        first_iterations=spec.encoder.first_iterations,
    )
    return SlotModel(encoder, _latent_diffusion(spec), spec.size)


def build(spec: SlotModelSpec | CodecModelSpec) -> SlotModel | Vqvae:
    """Whatever the spec defines, untrained."""
    return build_codec(spec) if isinstance(spec, CodecModelSpec) else build_model(spec)


def count_parameters(spec: SlotModelSpec | CodecModelSpec) -> int:
    """How many parameters the spec defines, counted without making them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(spec).parameters())


def _require_divisible(spec: SlotModelSpec | CodecModelSpec, *divisors: int) -> None:
    for divisor in divisors:
        if any(side % divisor for side in spec.size):
            raise ConfigError(
                f"{spec.name}: size {list(spec.size)} does not divide by {divisor}.",
                "Choose a size that does, or fewer levels.",
            )


def _vqvae(spec: VqvaeSpec) -> Vqvae:
    return Vqvae(
        spec.channels,
        spec.multipliers,
        spec.res_blocks,
        spec.latent_channels,
        spec.num_codes,
    )


def _backbone(spec: BackboneSpec) -> ResNet18 | CompactCnn:
    return ResNet18() if isinstance(spec, ResNet18Spec) else CompactCnn(spec.channels)


def _latent_diffusion(spec: SlotModelSpec) -> LatentDiffusion:
    decoder: LatentDiffusionSpec = spec.decoder
    codec = decoder.codec
    grid: Size = (spec.size[0] // codec.downsampling, spec.size[1] // codec.downsampling)
    return LatentDiffusion(
        _vqvae(codec),
        UNet(
            codec.latent_channels,
            decoder.channels,
            decoder.multipliers,
            decoder.res_blocks,
            spec.slot_dim,
        ),
        latent_shape=(codec.latent_channels, *grid),
        slot_dim=spec.slot_dim,
        target=decoder.target,
        null_tokens=decoder.null_tokens,
        latent_scale=decoder.latent_scale,
        timesteps=spec.train.timesteps,
    )
