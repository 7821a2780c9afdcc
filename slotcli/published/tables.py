"""Maps our modules' names to the authors', part by part; a module not listed is inside one that is.

Theirs are those of Wuziyi616/SlotDiffusion at eacfc9a: its video models `savi_ldm`, `savi` and
`steve`, its image models `sa_ldm`, `sa` and `slate`, which only lack a predictor, and the VQ-VAE
and dVAE alone, as they are trained before them.
"""

from collections.abc import Mapping

from slotcli.decoders.spatial_broadcast import DOUBLINGS
from slotcli.published.feature_models import feature_table, is_feature_model
from slotcli.spec import (
    CodecModelSpec,
    DecoderSpec,
    DvaeSpec,
    EncoderSpec,
    LatentDiffusionSpec,
    MasksOnlySpec,
    PatchMlpSpec,
    PixelsSpec,
    ResNet18Spec,
    SlotMixerSpec,
    SlotModelSpec,
    SpatialBroadcastSpec,
    TokenTransformerSpec,
    VqvaeSpec,
)

UNET = "dm_decoder.model.diffusion_model."

_ENCODER = {
    "initial_slots": "init_latents",
    "position.project": "encoder_pos_embedding.dense",
    "readout": "encoder_out_layer",
    "corrector.norm_inputs": "slot_attention.norm_inputs",
    "corrector.norm_slots": "slot_attention.project_q.0",
    "corrector.queries": "slot_attention.project_q.1",
    "corrector.keys": "slot_attention.project_k",
    "corrector.values": "slot_attention.project_v",
    "corrector.gru": "slot_attention.gru",
    "corrector.mlp": "slot_attention.mlp",
    "predictor.transformer": "predictor.transformer_encoder",
}
_BASIC_BLOCK = {
    "conv1": "conv1",
    "norm1": "bn1",
    "conv2": "conv2",
    "norm2": "bn2",
    "shortcut": "downsample",
}
_TOKENS = {
    "slots_in": "in_proj",
    "tokens": "tok_emb",
    "positions": "pos_emb.pe",
    "norm_out": "tf_dec.layer_norm",
    "head": "head",
}
_TOKENS_BLOCK = {
    "norm_self": "self_attn_layer_norm",
    "self_attention.queries": "self_attn.proj_q",
    "self_attention.keys": "self_attn.proj_k",
    "self_attention.values": "self_attn.proj_v",
    "self_attention.out": "self_attn.proj_o",
    "norm_cross": "encoder_decoder_attn_layer_norm",
    "cross_attention.queries": "encoder_decoder_attn.proj_q",
    "cross_attention.keys": "encoder_decoder_attn.proj_k",
    "cross_attention.values": "encoder_decoder_attn.proj_v",
    "cross_attention.out": "encoder_decoder_attn.proj_o",
    "norm_feed": "ffn_layer_norm",
    "feed_forward": "ffn",
}
_UNET = {
    "time": "time_embed",
    "conv_in": "input_blocks.0.0",
    "middle_out": "middle_block.2",
    "head": "out",
}
_UNET_RES_BLOCK = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "shortcut": "skip_connection",
}
_UNET_TRANSFORMER = {
    "norm": "norm",
    "project_in": "proj_in",
    "norm_self": "transformer_blocks.0.norm1",
    "self_attention.queries": "transformer_blocks.0.attn1.to_q",
    "self_attention.keys": "transformer_blocks.0.attn1.to_k",
    "self_attention.values": "transformer_blocks.0.attn1.to_v",
    "self_attention.out": "transformer_blocks.0.attn1.to_out.0",
    "norm_cross": "transformer_blocks.0.norm2",
    "cross_attention.queries": "transformer_blocks.0.attn2.to_q",
    "cross_attention.keys": "transformer_blocks.0.attn2.to_k",
    "cross_attention.values": "transformer_blocks.0.attn2.to_v",
    "cross_attention.out": "transformer_blocks.0.attn2.to_out.0",
    "norm_feed": "transformer_blocks.0.norm3",
    "feed_forward.inner": "transformer_blocks.0.ff.net.0.proj",
    "feed_forward.outer": "transformer_blocks.0.ff.net.2",
    "project_out": "proj_out",
}
_VQVAE = {
    "to_latents": "quant_conv",
    "codebook": "quantize.embedding",
    "from_latents": "post_quant_conv",
}
_VQVAE_RES_BLOCK = {
    "norm1": "norm1",
    "conv1": "conv1",
    "norm2": "norm2",
    "conv2": "conv2",
    "shortcut": "nin_shortcut",
}
_VQVAE_ATTENTION = {
    "norm": "norm",
    "queries": "q",
    "keys": "k",
    "values": "v",
    "out": "proj_out",
}


def module_table(spec: SlotModelSpec | CodecModelSpec) -> dict[str, str]:
    """Our modules' names to the authors', for all parts of a model that they have as well."""
    if isinstance(spec, CodecModelSpec):
        return _codec(spec.codec)
    if is_feature_model(spec):
        return feature_table(spec)
    return _inside("encoder.", "", _encoder(spec.encoder)) | _inside(
        "decoder.", "", _decoder(spec.decoder)
    )


def _inside(ours: str, theirs: str, parts: Mapping[str, str]) -> dict[str, str]:
    """A part's table with both prefixes added; each ends in a dot."""
    return {ours + own: theirs + name for own, name in parts.items()}


def _encoder(spec: EncoderSpec) -> dict[str, str]:
    modules = dict(_ENCODER)
    if isinstance(spec.backbone, ResNet18Spec):
        modules |= {"backbone.stem.0": "encoder.conv1", "backbone.stem.1": "encoder.bn1"}
        for block in range(6):
            theirs = f"encoder.layer{block // 2 + 1}.{block % 2}."
            modules |= _inside(f"backbone.stages.{block}.", theirs, _BASIC_BLOCK)
    return modules


def _decoder(
    spec: DecoderSpec,
) -> dict[str, str]:
    if isinstance(spec, MasksOnlySpec | PatchMlpSpec | SlotMixerSpec):
        return {}
    if isinstance(spec, SpatialBroadcastSpec):
        return _spatial_broadcast()
    if isinstance(spec, TokenTransformerSpec):
        decoder = _inside("", "trans_decoder.", _token_transformer(spec))
        return decoder | _inside("codec.", "dvae.", _codec(spec.codec))
    decoder = _inside("unet.", UNET, _unet(spec))
    return decoder | _inside("codec.", "dm_decoder.vae.vqvae.", _codec(spec.codec))


def _spatial_broadcast() -> dict[str, str]:
    modules = {"position.project": "decoder_pos_embedding.dense"}
    # Each of theirs holds a convolution and its activation; ours are in one sequence.
    for layer in range(DOUBLINGS):
        modules[f"layers.{2 * layer}"] = f"decoder.{layer}.0"
    modules[f"layers.{2 * DOUBLINGS}"] = f"decoder.{DOUBLINGS}"
    return modules


def _token_transformer(spec: TokenTransformerSpec) -> dict[str, str]:
    modules = dict(_TOKENS)
    for block in range(spec.blocks):
        modules |= _inside(f"blocks.{block}.", f"tf_dec.blocks.{block}.", _TOKENS_BLOCK)
    return modules


def _unet(spec: LatentDiffusionSpec) -> dict[str, str]:
    def stage(ours: str, theirs: str) -> dict[str, str]:
        return _inside(f"{ours}.res.", f"{theirs}.0.", _UNET_RES_BLOCK) | _inside(
            f"{ours}.transformer.", f"{theirs}.1.", _UNET_TRANSFORMER
        )

    levels = len(spec.multipliers)
    modules = dict(_UNET)
    # Their blocks are in one sequence; ours are grouped by level.
    block = 1
    for level in range(levels):
        if level:
            modules[f"downsample.{level - 1}"] = f"input_blocks.{block}.0.op"
            block += 1
        for i in range(spec.res_blocks):
            modules |= stage(f"down.{level}.{i}", f"input_blocks.{block}")
            block += 1
    modules |= stage("middle", "middle_block")
    modules |= _inside("middle_out.", "middle_block.2.", _UNET_RES_BLOCK)
    for level in range(levels):
        first = level * (spec.res_blocks + 1)
        for i in range(spec.res_blocks + 1):
            modules |= stage(f"up.{level}.{i}", f"output_blocks.{first + i}")
        if level < levels - 1:
            modules[f"upsample.{level}"] = f"output_blocks.{first + spec.res_blocks}.2.conv"
    return modules


def _codec(spec: VqvaeSpec | DvaeSpec | PixelsSpec) -> dict[str, str]:
    if isinstance(spec, PixelsSpec):
        return {}
    return _dvae() if isinstance(spec, DvaeSpec) else _vqvae(spec)


def _dvae() -> dict[str, str]:
    # Their blocks have the convolution as a submodule, and the norm's tensors as their own. The
    # decoder's two pixel shuffles are omitted, because they have no tensors.
    blocks = {"encoder": range(7), "decoder": (0, 1, 2, 3, 4, 6, 7, 8, 9)}
    modules = {"encoder.7": "encoder.7", "decoder.11": "decoder.11"}
    for side, indices in blocks.items():
        for index in indices:
            modules[f"{side}.{index}.conv"] = f"{side}.{index}.m"
            modules[f"{side}.{index}.norm"] = f"{side}.{index}"
    return modules


def _vqvae(spec: VqvaeSpec) -> dict[str, str]:
    levels = range(len(spec.multipliers))
    middle = ["mid.block_1", "mid.attn_1", "mid.block_2"]
    # Ours are plain sequences; these are theirs in the order of their execution, with an empty name
    # for the activation, which has no tensors.
    encoder = ["conv_in"]
    for level in levels:
        if level:
            encoder.append(f"down.{level - 1}.downsample")
        encoder += [f"down.{level}.block.{i}" for i in range(spec.res_blocks)]
    encoder += [*middle, "norm_out", "", "conv_out"]
    decoder = ["conv_in", *middle]
    for level in reversed(levels):
        decoder += [f"up.{level}.block.{i}" for i in range(spec.res_blocks + 1)]
        if level:
            decoder.append(f"up.{level}.upsample")
    decoder += ["norm_out", "", "conv_out"]
    modules = dict(_VQVAE)
    for side, sequence in (("encoder", encoder), ("decoder", decoder)):
        for index, name in enumerate(sequence):
            ours, theirs = f"{side}.{index}", f"{side}.{name}"
            if "block" in name:
                modules |= _inside(f"{ours}.", f"{theirs}.", _VQVAE_RES_BLOCK)
            elif "attn" in name:
                modules |= _inside(f"{ours}.", f"{theirs}.", _VQVAE_ATTENTION)
            elif name:
                modules[ours] = theirs
    return modules
