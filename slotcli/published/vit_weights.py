"""Loads the weights of a vision transformer from a file in timm's or Meta's layout."""

import re
from pathlib import Path

import torch
from torch import Tensor

from slotcli.build import vit_shapes
from slotcli.checkpoint import file_sha256, load_strictly, require_fit
from slotcli.encoder.vit import Vit
from slotcli.errors import UnavailableError
from slotcli.files.model_folders import backbone_file
from slotcli.model import SlotModel
from slotcli.published.files import read_state_dict
from slotcli.spec import SlotModelSpec, VitSpec

# Of a whole classifier or a training run: prefixes of the network, and what comes after its blocks.
_PREFIXES = ("module.", "backbone.", "teacher.", "model.")
_UNUSED = re.compile(r"(norm|fc_norm|local_cls_norm|head|head_drop|mask_token|rope_embed)(\.|$)")
_SCALE = re.compile(r"\.gamma_([12])$")
_BLOCK = re.compile(r"blocks\.(\d+)\.")


def load_backbone_into(model: SlotModel, spec: SlotModelSpec) -> str | None:
    """Loads the file `train.backbone` into a Vit and freezes it; returns the file's hash.

    Returns None, and does nothing, for another backbone. Raises UnavailableError where the
    definition names no file or one that was not fetched, NoInputError or DataError where the file
    is missing or does not fit.
    """
    backbone = model.encoder.backbone
    if not isinstance(backbone, Vit):
        return None
    if spec.train.backbone is None:
        raise UnavailableError(
            f"{spec.name}: its backbone has no weights, and an untrained one shows no objects.",
            "Give them with --set train.backbone=FILE (timm's or Meta's), or --init a model.",
        )
    path = backbone_file(spec.train.backbone)
    load_strictly(backbone, _tensors(path, len(backbone.blocks)), str(path))
    backbone.requires_grad_(spec.train.trunk_learning_rate > 0)
    return file_sha256(path)


def require_backbone(path: Path, spec: VitSpec) -> int:
    """The number of tensors of a file that is exactly the backbone's weights.

    Raises as `read_state_dict`, and DataError where it is not.
    """
    tensors = _tensors(path, spec.blocks)
    require_fit(vit_shapes(spec).state_dict(), tensors, str(path))
    return len(tensors)


def _tensors(path: Path, blocks: int) -> dict[str, Tensor]:
    return backbone_tensors(read_state_dict(path), blocks)


def backbone_tensors(theirs: dict[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """The tensors of the first `blocks` blocks under our names: those of timm's VisionTransformer.

    Meta's networks with registers have a position for the class token; timm adds it to the token.
    DINOv3 (`_of_dinov3`) has other names in both layouts.
    """
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in theirs):
            theirs = {name.removeprefix(prefix): tensor for name, tensor in theirs.items()}
    kept = {}
    for name, tensor in theirs.items():
        block = _BLOCK.match(name)
        if not _UNUSED.match(name) and (block is None or int(block[1]) < blocks):
            kept[name] = tensor
    if "pos_embed" not in kept:
        return _of_dinov3(kept)
    if "register_tokens" in kept:
        positions = kept["pos_embed"]
        kept["reg_token"] = kept.pop("register_tokens")
        kept["cls_token"] = kept["cls_token"] + positions[:, :1]
        kept["pos_embed"] = positions[:, 1:]
    return kept


def _of_dinov3(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """DINOv3 in timm's layout or Meta's: queries and values may have biases, keys have none."""
    kept = {}
    for name, tensor in theirs.items():
        if name == "storage_tokens":
            kept["reg_token"] = tensor
        elif name.endswith(".attn.qkv.weight"):
            kept[name] = tensor
            bias = name.replace("weight", "bias")
            kept[bias] = _bias(theirs, bias, tensor)
        elif not name.endswith(("qkv.bias", "qkv.bias_mask", "attn.q_bias", "attn.v_bias")):
            kept[_SCALE.sub(r".ls\1.gamma", name)] = tensor
    return kept


def _bias(theirs: dict[str, Tensor], name: str, weight: Tensor) -> Tensor:
    """The bias of the three projections `weight`, which is `name` in Meta's layout."""
    nothing = weight.new_zeros(len(weight) // 3)
    if name in theirs:
        queries, _, values = theirs[name].chunk(3)
    else:
        queries, values = (
            theirs.get(name.replace("qkv.bias", part), nothing) for part in ("q_bias", "v_bias")
        )
    return torch.cat([queries, nothing, values])
