"""Our name to the authors' for every tensor of a model.

The names are those of Wuziyi616/SlotDiffusion at eacfc9a: its `savi_ldm` models, and the VQ-VAE on
its own as it is trained before them. Its image models (`sa_ldm`) differ in lacking a predictor.
"""

from collections.abc import Mapping

import torch
from torch import nn

from slotcli.build import build
from slotcli.errors import ConfigError
from slotcli.spec import CodecModelSpec, LatentDiffusionSpec, ResNet18Spec, SlotModelSpec, VqvaeSpec

_CODEC_IN_MODEL = "dm_decoder.vae.vqvae."

# Ours to theirs, module by module; a module that is not here stands inside one that is.
_ENCODER = {
    "encoder.initial_slots": "init_latents",
    "encoder.backbone.stem.0": "encoder.conv1",
    "encoder.backbone.stem.1": "encoder.bn1",
    "encoder.position.project": "encoder_pos_embedding.dense",
    "encoder.readout": "encoder_out_layer",
    "encoder.corrector.norm_inputs": "slot_attention.norm_inputs",
    "encoder.corrector.norm_slots": "slot_attention.project_q.0",
    "encoder.corrector.queries": "slot_attention.project_q.1",
    "encoder.corrector.keys": "slot_attention.project_k",
    "encoder.corrector.values": "slot_attention.project_v",
    "encoder.corrector.gru": "slot_attention.gru",
    "encoder.corrector.mlp": "slot_attention.mlp",
    "encoder.predictor.transformer": "predictor.transformer_encoder",
}
_BASIC_BLOCK = {
    "conv1": "conv1",
    "norm1": "bn1",
    "conv2": "conv2",
    "norm2": "bn2",
    "shortcut": "downsample",
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
_CODEC = {
    "to_latents": "quant_conv",
    "codebook": "quantize.embedding",
    "from_latents": "post_quant_conv",
}
_CODEC_RES_BLOCK = {
    "norm1": "norm1",
    "conv1": "conv1",
    "norm2": "norm2",
    "conv2": "conv2",
    "shortcut": "nin_shortcut",
}
_CODEC_ATTENTION = {
    "norm": "norm",
    "queries": "q",
    "keys": "k",
    "values": "v",
    "out": "proj_out",
}


def published_names(spec: SlotModelSpec | CodecModelSpec) -> dict[str, str]:
    """Our name to the authors' for every tensor of a model.

    Raises ConfigError where the spec has parts that the authors' models lack.
    """
    modules = _codec(spec.codec) if isinstance(spec, CodecModelSpec) else _slot_model(spec)
    names = {own: _translate(own, modules) for own in model_shapes(spec)}
    strangers = sorted(own for own, name in names.items() if name is None)
    if strangers:
        raise ConfigError(
            f"{spec.name}: the authors' models have no {listed(strangers)}.",
            "Import with the definition of a published model.",
        )
    return {own: name for own, name in names.items() if name is not None}


def model_shapes(spec: SlotModelSpec | CodecModelSpec) -> dict[str, list[int]]:
    """Our name to the shape of every tensor of a model, without its weights in memory."""
    with torch.device("meta"):
        module: nn.Module = build(spec)
    return {name: list(tensor.shape) for name, tensor in module.state_dict().items()}


def listed(names: list[str]) -> str:
    """The first ten names, and how many more there are."""
    shown = ", ".join(names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown


def _translate(name: str, modules: Mapping[str, str]) -> str | None:
    head, tail = name, ""
    while head not in modules:
        head, dot, last = head.rpartition(".")
        tail = dot + last + tail
        if not head:
            return None
    return modules[head] + tail


def _inside(ours: str, theirs: str, parts: Mapping[str, str]) -> dict[str, str]:
    """The table of a module's parts as seen from outside of it; both prefixes end in a dot."""
    return {ours + own: theirs + name for own, name in parts.items()}


def _slot_model(spec: SlotModelSpec) -> dict[str, str]:
    modules = dict(_ENCODER)
    if isinstance(spec.encoder.backbone, ResNet18Spec):
        for block in range(6):
            theirs = f"encoder.layer{block // 2 + 1}.{block % 2}."
            modules |= _inside(f"encoder.backbone.stages.{block}.", theirs, _BASIC_BLOCK)
    else:
        del modules["encoder.backbone.stem.0"], modules["encoder.backbone.stem.1"]
    unet = _unet(spec.decoder)
    modules |= _inside("decoder.unet.", "dm_decoder.model.diffusion_model.", unet)
    return modules | _inside("decoder.codec.", _CODEC_IN_MODEL, _codec(spec.decoder.codec))


def _unet(spec: LatentDiffusionSpec) -> dict[str, str]:
    def stage(ours: str, theirs: str) -> dict[str, str]:
        return _inside(f"{ours}.res.", f"{theirs}.0.", _UNET_RES_BLOCK) | _inside(
            f"{ours}.transformer.", f"{theirs}.1.", _UNET_TRANSFORMER
        )

    levels = len(spec.multipliers)
    modules = dict(_UNET)
    # Their blocks stand in one row; ours are grouped by level.
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


def _codec(spec: VqvaeSpec) -> dict[str, str]:
    levels = range(len(spec.multipliers))
    middle = ["mid.block_1", "mid.attn_1", "mid.block_2"]
    # Ours are plain sequences; these are theirs in the order of their execution, with an empty
    # name for the activation, which has no tensors.
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
    modules = dict(_CODEC)
    for side, sequence in (("encoder", encoder), ("decoder", decoder)):
        for index, name in enumerate(sequence):
            ours, theirs = f"{side}.{index}", f"{side}.{name}"
            if "block" in name:
                modules |= _inside(f"{ours}.", f"{theirs}.", _CODEC_RES_BLOCK)
            elif "attn" in name:
                modules |= _inside(f"{ours}.", f"{theirs}.", _CODEC_ATTENTION)
            elif name:
                modules[ours] = theirs
    return modules
