"""Builds networks from a spec: the only module that knows both."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from slotcli.codecs.dvae import Dvae
from slotcli.codecs.pixels import Pixels
from slotcli.codecs.vqvae import Vqvae
from slotcli.decoders.condition import Condition, map_channels
from slotcli.decoders.deblocking import Deblocking
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.decoders.masks_only import MasksOnly
from slotcli.decoders.patch_mlp import PatchMlp
from slotcli.decoders.slot_mixer import SlotMixer
from slotcli.decoders.spatial_broadcast import DOUBLINGS, SpatialBroadcast
from slotcli.decoders.token_transformer import TokenTransformer
from slotcli.diffusion.unet import UNet
from slotcli.encoder.appearance import Appearance
from slotcli.encoder.backbone import CompactCnn, ResNet18
from slotcli.encoder.efficientnet import COARSEST, FeaturePyramid
from slotcli.encoder.encoder import SlotEncoder
from slotcli.encoder.predictor import TransformerPredictor
from slotcli.encoder.slot_attention import SlotAttention
from slotcli.encoder.vit import Vit
from slotcli.errors import ConfigError
from slotcli.model import SlotModel
from slotcli.spec import (
    BackboneSpec,
    CodecModelSpec,
    DecoderSpec,
    DvaeSpec,
    EfficientNetLite0Spec,
    LatentDiffusionSpec,
    MasksOnlySpec,
    PatchMlpSpec,
    PixelsSpec,
    ResNet18Spec,
    SlotMixerSpec,
    SlotModelSpec,
    SpatialBroadcastSpec,
    TokenTransformerSpec,
    VitSpec,
    VqvaeSpec,
)
from slotcli.types import Size


def build_codec(spec: CodecModelSpec) -> Vqvae | Dvae:
    """An untrained codec. Raises ConfigError if a size does not divide by the downsampling."""
    _require_divisible(spec, spec.codec.downsampling)
    return _dvae(spec.codec) if isinstance(spec.codec, DvaeSpec) else _vqvae(spec.codec)


def build_model(spec: SlotModelSpec) -> SlotModel:
    """An untrained slot model with an untrained codec. Raises ConfigError as `build_codec` does."""
    own = spec.encoder
    learns_keys = spec.train.similarity_weight > 0
    backbone = _backbone(own.backbone, with_keys=learns_keys)
    steps = COARSEST if isinstance(backbone, FeaturePyramid) else 2 * backbone.stride
    if isinstance(backbone, Vit):
        steps = backbone.stride
    _require_divisible(spec, steps, _coarsest(spec.decoder))
    predictor = own.predictor
    encoder = SlotEncoder(
        backbone,
        None
        if predictor is None
        else TransformerPredictor(
            spec.slot_dim, predictor.layers, predictor.identity_start, predictor.dropout
        ),
        size=spec.size,
        num_slots=spec.num_slots,
        slot_dim=spec.slot_dim,
        iterations=own.iterations,
        first_iterations=own.first_iterations,
        slot_bias=own.slot_bias,
        corrector=partial(
            SlotAttention, spec.slot_dim, own.gru_state == "normalised", own.slot_mlp, own.read_eps
        ),
        readout=own.readout,
        positions=own.positions,
        gaussian=own.initial_slots == "gaussian",
        initial_deviation=own.initial_deviation,
        warm_up=own.warm_up,
        keeps_features=isinstance(spec.decoder, PatchMlpSpec | SlotMixerSpec),
        appearance=_appearance(spec),
    )
    decoder = _decoder(spec, backbone.width, _grid(spec.size, backbone.stride))
    return SlotModel(encoder, decoder, spec.size)


def build(spec: SlotModelSpec | CodecModelSpec) -> SlotModel | Vqvae | Dvae:
    """The spec's codec or slot model, untrained."""
    return build_codec(spec) if isinstance(spec, CodecModelSpec) else build_model(spec)


def build_shapes(spec: SlotModelSpec | CodecModelSpec) -> SlotModel | Vqvae | Dvae:
    """The network on the meta device; buffers that no file holds are real (`persistent=False`)."""
    with torch.device("meta"), _SkipInitialisation():
        return build(spec)


def vit_shapes(spec: VitSpec) -> Vit:
    """As `build_shapes`, of a vision transformer alone."""
    with torch.device("meta"), _SkipInitialisation():
        return build_vit(spec)


_INITIALISERS = (
    Tensor.normal_,
    Tensor.uniform_,
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.kaiming_uniform_,
)


class _SkipInitialisation(TorchFunctionMode):
    """Skips random initialisation: for tensors on the meta device torch imports its compiler."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _INITIALISERS:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return (torch.empty if func is torch.randn else func)(*args, **kwargs)


def count_parameters(spec: SlotModelSpec | CodecModelSpec) -> int:
    """Number of the network's parameters, counted without allocating them."""
    return sum(parameter.numel() for parameter in build_shapes(spec).parameters())


def _require_divisible(spec: SlotModelSpec | CodecModelSpec, *divisors: int) -> None:
    sizes = spec.train.sizes if isinstance(spec, SlotModelSpec) else ()
    for size, divisor in product((spec.size, *sizes), divisors):
        if any(side % divisor for side in size):
            raise ConfigError(
                f"{spec.name}: size {list(size)} does not divide by {divisor}.",
                "Choose a size that does, or fewer levels.",
            )


def _coarsest(spec: DecoderSpec) -> int:
    """Downsampling factor from the frames to the decoder's smallest map."""
    if isinstance(spec, SpatialBroadcastSpec):
        return 2**DOUBLINGS
    if isinstance(spec, TokenTransformerSpec):
        return spec.codec.downsampling
    if isinstance(spec, MasksOnlySpec | PatchMlpSpec | SlotMixerSpec):
        return 1
    return spec.codec.downsampling * spec.patch * 2 ** (len(spec.multipliers) - 1)


def _dvae(spec: DvaeSpec) -> Dvae:
    return Dvae(spec.channels, spec.num_codes)


def _vqvae(spec: VqvaeSpec) -> Vqvae:
    return Vqvae(
        spec.channels,
        spec.multipliers,
        spec.res_blocks,
        spec.latent_channels,
        spec.num_codes,
        spec.shortcuts,
    )


def _backbone(spec: BackboneSpec, with_keys: bool) -> ResNet18 | CompactCnn | FeaturePyramid | Vit:
    if isinstance(spec, VitSpec):
        return build_vit(spec, with_keys=with_keys)
    if isinstance(spec, EfficientNetLite0Spec):
        return FeaturePyramid(spec.channels)
    return ResNet18() if isinstance(spec, ResNet18Spec) else CompactCnn(spec.channels)


def build_vit(spec: VitSpec, *, with_keys: bool = False) -> Vit:
    """An untrained vision transformer, which gives the keys of its last block if `with_keys`."""
    return Vit(
        patch=spec.patch,
        width=spec.width,
        heads=spec.heads,
        blocks=spec.blocks,
        grid=None if spec.grid is None else (spec.grid, spec.grid),
        layer_scale=spec.layer_scale,
        registers=spec.registers,
        with_keys=with_keys,
    )


def _decoder(
    spec: SlotModelSpec, features: int, patches: Size
) -> SpatialBroadcast | TokenTransformer | LatentDiffusion | PatchMlp | SlotMixer | MasksOnly:
    decoder = spec.decoder
    if isinstance(decoder, MasksOnlySpec):
        return MasksOnly()
    if isinstance(decoder, PatchMlpSpec):
        return PatchMlp(
            grid=patches,
            slot_dim=spec.slot_dim,
            features=features,
            channels=decoder.channels,
            layers=decoder.layers,
        )
    if isinstance(decoder, SlotMixerSpec):
        return SlotMixer(
            grid=patches,
            slot_dim=spec.slot_dim,
            features=features if decoder.features else 0,
            blocks=decoder.blocks,
            channels=decoder.channels,
            layers=decoder.layers,
        )
    if isinstance(decoder, SpatialBroadcastSpec):
        return _spatial_broadcast(spec, decoder.channels, decoder.codec)
    if isinstance(decoder, TokenTransformerSpec):
        return TokenTransformer(
            _dvae(decoder.codec),
            grid=_grid(spec.size, decoder.codec.downsampling),
            slot_dim=spec.slot_dim,
            blocks=decoder.blocks,
            heads=decoder.heads,
        )
    return _latent_diffusion(spec, decoder, features)


def _latent_diffusion(
    spec: SlotModelSpec, decoder: LatentDiffusionSpec, features: int
) -> LatentDiffusion:
    codec = decoder.codec
    size = _grid(spec.size, codec.downsampling)
    grid = _grid(size, decoder.patch)
    channels = codec.latent_channels * decoder.patch**2
    patch = decoder.patch if decoder.fine_layout else 1
    return LatentDiffusion(
        Pixels() if isinstance(codec, PixelsSpec) else _vqvae(codec),
        UNet(
            channels + map_channels(decoder.layout, decoder.colour_grid, patch),
            decoder.channels,
            decoder.multipliers,
            decoder.res_blocks,
            spec.slot_dim,
            grid if decoder.positions else None,
            predicted_channels=channels,
        ),
        Condition(
            spec.slot_dim,
            grid,
            layout=decoder.layout,
            appearance=features if decoder.appearance else 0,
            colour_grid=decoder.colour_grid,
            patch=patch,
        ),
        latent_shape=(codec.latent_channels, *size),
        slot_dim=spec.slot_dim,
        target=decoder.target,
        null_tokens=decoder.null_tokens,
        latent_scale=decoder.latent_scale,
        timesteps=spec.train.timesteps,
        patch=decoder.patch,
        noise_scale=decoder.noise_scale,
        evaluations=decoder.evaluations,
        quantise=decoder.quantise,
        deblocking=(
            Deblocking(codec.downsampling, colours=decoder.colour_grid > 0)
            if decoder.deblocking
            else None
        ),
    )


def _appearance(spec: SlotModelSpec) -> Appearance | None:
    decoder = spec.decoder
    if isinstance(decoder, LatentDiffusionSpec) and decoder.appearance:
        return Appearance(decoder.colour_grid, spec.background_slot)
    return None


def _spatial_broadcast(
    spec: SlotModelSpec, channels: int, codec: VqvaeSpec | None
) -> SpatialBroadcast:
    if codec is None:
        return SpatialBroadcast(size=spec.size, slot_dim=spec.slot_dim, channels=channels)
    doublings = DOUBLINGS - (len(codec.multipliers) - 1)
    if doublings < 1:
        raise ConfigError(
            f"{spec.name}: the decoder's grid is no coarser than its codec's latents.",
            f"Choose a codec of at most {DOUBLINGS} levels.",
        )
    return SpatialBroadcast(
        size=spec.size,
        slot_dim=spec.slot_dim,
        channels=channels,
        codec=_vqvae(codec),
        depth=codec.latent_channels,
        doublings=doublings,
    )


def _grid(size: Size, downsampling: int) -> Size:
    return size[0] // downsampling, size[1] // downsampling
