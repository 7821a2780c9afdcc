"""Weights under the authors' names brought to ours, with every name accounted for.

The names are those of Wuziyi616/SlotDiffusion at eacfc9a: its `savi_ldm` models, and the VQ-VAE on
its own as it is trained before them.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from slotcli.build import build
from slotcli.diffusion.schedule import Schedule
from slotcli.encoder.encoder import PositionEmbedding
from slotcli.errors import ConfigError, DataError, NoInputError
from slotcli.spec import CodecModelSpec, LatentDiffusionSpec, ResNet18Spec, SlotModelSpec, VqvaeSpec

_CODEC_IN_MODEL = "dm_decoder.vae.vqvae."
_GRID = "encoder_pos_embedding.grid"
_ALPHAS_BAR = "dm_decoder.alphas_bar"

# What the authors' model stores and ours derives. The first two are compared before they are
# dropped; the rest follow from alphas_bar.
DERIVED = frozenset(
    {
        _GRID,
        _ALPHAS_BAR,
        "dm_decoder.betas",
        "dm_decoder.alphas_bar_prev",
        "dm_decoder.sqrt_alphas_bar",
        "dm_decoder.sqrt_one_minus_alphas_bar",
        "dm_decoder.log_one_minus_alphas_bar",
        "dm_decoder.sqrt_recip_alphas_bar",
        "dm_decoder.sqrt_recipm1_alphas_bar",
        "dm_decoder.posterior_variance",
        "dm_decoder.posterior_log_variance_clipped",
        "dm_decoder.posterior_mean_coef1",
        "dm_decoder.posterior_mean_coef2",
    }
)
# LPIPS and its VGG trunk: the VQ-VAE's training loss keeps them in the VQ-VAE's own checkpoint.
CODEC_LOSS = "loss.perceptual_loss."

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


@dataclass(frozen=True)
class ImportReport:
    """How many tensors came over, and which of the file's were dropped because ours derives them."""

    mapped: int
    dropped: list[str]


def import_published(
    path: Path, spec: SlotModelSpec | CodecModelSpec
) -> tuple[dict[str, Tensor], ImportReport]:
    """The tensors of the authors' checkpoint under our names, in float32, fit for `spec`.

    `path` is a .pth or .pt (a state dict, or a checkpoint of their trainer), .safetensors or .npz.
    Nothing in it is executed. A codec's names may carry the prefix `vqvae.`. Raises NoInputError
    where there is no file, ConfigError where `spec` has parts that the authors' models lack, and
    DataError where the file is unreadable or its tensors are not exactly those of `spec`.
    """
    names = published_names(spec)
    theirs = _without_prefix(_read(path), "module.")
    if isinstance(spec, CodecModelSpec):
        theirs = _without_prefix(theirs, "vqvae.")
        dropped = sorted(name for name in theirs if name.startswith(CODEC_LOSS))
    else:
        dropped = sorted(theirs.keys() & DERIVED)
        _check_derived(theirs, spec, path)
    _check_names(names, _shapes(spec), theirs, dropped, path)
    # Emptying `theirs` as we go holds one copy of a large model, not two; copies share no memory.
    ours = {own: theirs.pop(name).to(torch.float32, copy=True) for own, name in names.items()}
    broken = [names[own] for own, tensor in ours.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise DataError(f"{path}: not finite: {_listed(broken)}.", "Fetch or train it again.")
    return ours, ImportReport(mapped=len(ours), dropped=dropped)


def published_names(spec: SlotModelSpec | CodecModelSpec) -> dict[str, str]:
    """Our name to the authors' for every tensor of a model.

    Raises ConfigError where the spec has parts that the authors' models lack.
    """
    modules = _codec(spec.codec) if isinstance(spec, CodecModelSpec) else _slot_model(spec)
    names = {own: _translate(own, modules) for own in _shapes(spec)}
    strangers = sorted(own for own, name in names.items() if name is None)
    if strangers:
        raise ConfigError(
            f"{spec.name}: the authors' models have no {_listed(strangers)}.",
            "Import with the definition of a published model.",
        )
    return {own: name for own, name in names.items() if name is not None}


def _translate(name: str, modules: Mapping[str, str]) -> str | None:
    head, tail = name, ""
    while head not in modules:
        head, dot, last = head.rpartition(".")
        tail = dot + last + tail
        if not head:
            return None
    return modules[head] + tail


def _shapes(spec: SlotModelSpec | CodecModelSpec) -> dict[str, list[int]]:
    with torch.device("meta"):
        module: nn.Module = build(spec)
    return {name: list(tensor.shape) for name, tensor in module.state_dict().items()}


def _inside(ours: str, theirs: str, parts: Mapping[str, str]) -> dict[str, str]:
    """The table of a module's parts, seen from the outside; the prefixes end in dots or are empty."""
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
    # Ours are plain sequences; these are theirs in the order of their execution.
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


def _check_names(
    names: Mapping[str, str],
    shapes: Mapping[str, list[int]],
    theirs: Mapping[str, Tensor],
    dropped: list[str],
    path: Path,
) -> None:
    wanted = {name: shapes[own] for own, name in names.items()}
    missing = sorted(wanted.keys() - theirs.keys())
    unknown = sorted(theirs.keys() - wanted.keys() - set(dropped))
    wrong = [
        f"{name} is {theirs[name].dtype} {list(theirs[name].shape)}, not float {wanted[name]}"
        for name in sorted(wanted.keys() & theirs.keys())
        if list(theirs[name].shape) != wanted[name] or not theirs[name].is_floating_point()
    ]
    if missing or unknown or wrong:
        raise DataError(
            f"{path}: not the authors' weights of this definition: "
            f"{len(missing)} missing ({_listed(missing)}), {len(unknown)} unknown "
            f"({_listed(unknown)}), {len(wrong)} of another shape or type ({_listed(wrong)}).",
            "Use the definition that the weights were trained with.",
        )


def _check_derived(theirs: Mapping[str, Tensor], spec: SlotModelSpec, path: Path) -> None:
    """Raises DataError where the file was made for another frame size or noise schedule.

    Both are constants of the definition that no weight's shape would give away.
    """
    side = 4  # the published backbone's stride
    grid = PositionEmbedding(1, (spec.size[0] // side, spec.size[1] // side)).grid
    for name, own in ((_GRID, grid[None]), (_ALPHAS_BAR, Schedule().alphas_bar)):
        if name in theirs and not (
            theirs[name].shape == own.shape
            and torch.allclose(theirs[name].float(), own, rtol=1e-3, atol=1e-5)
        ):
            raise DataError(
                f"{path}: {name} is not what {spec.name} derives: the model was trained with "
                "another frame size or noise schedule.",
                "Use the definition that the weights were trained with.",
            )


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise NoInputError(f"{path}: there is no such file.", "Check the path.")
    # Whatever fails after this line is about the content, not about access to it.
    with path.open("rb"):
        pass
    readers = {".pth": _read_torch, ".pt": _read_torch, ".safetensors": load_file, ".npz": _read_npz}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: not a kind of weights file that can be imported.",
            f"Give one of: {', '.join(readers)}.",
        )
    try:
        content = reader(path)
    except pickle.UnpicklingError:
        raise DataError(
            f"{path}: this file is not plain weights: it is damaged, or would run code when loaded.",
            "Fetch it again, or save its state_dict alone.",
        ) from None
    # A damaged archive can make its reader raise nearly anything.
    except Exception as error:
        raise DataError(
            f"{path}: unreadable: {str(error).splitlines()[0] if str(error) else type(error).__name__}.",
            "Fetch it again.",
        ) from None
    return _state_dict(content, path)


def _read_torch(path: Path) -> Any:
    return torch.load(path, weights_only=True, map_location="cpu")


def _read_npz(path: Path) -> dict[str, Tensor]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: holds no state dict.", "Save the model's state_dict.")
    strangers = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if strangers or not all(isinstance(key, str) for key in content):
        raise DataError(
            f"{path}: holds other things than named tensors: {_listed(strangers)}.",
            "Save the model's state_dict alone.",
        )
    return dict(content)


def _without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    if not all(name.startswith(prefix) for name in tensors):
        return tensors
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown or "none"
