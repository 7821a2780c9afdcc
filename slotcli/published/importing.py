"""The authors' weights under our names, with every one of theirs accounted for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from slotcli.diffusion.schedule import Schedule
from slotcli.encoder.backbone import ResNet18
from slotcli.encoder.encoder import PositionEmbedding
from slotcli.errors import DataError
from slotcli.published.files import read_state_dict
from slotcli.published.names import listed, model_shapes, published_names
from slotcli.spec import CodecModelSpec, SlotModelSpec

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


@dataclass(frozen=True)
class ImportReport:
    """How many tensors came over, and which ones were left behind as not needed here."""

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
    theirs = _without_prefix(read_state_dict(path), "module.")
    if isinstance(spec, CodecModelSpec):
        theirs = _without_prefix(theirs, "vqvae.")
        dropped = sorted(name for name in theirs if name.startswith(CODEC_LOSS))
    else:
        dropped = sorted(theirs.keys() & DERIVED)
        _check_derived(theirs, spec, path)
    _check_names(names, model_shapes(spec), theirs, dropped, path)
    # Emptying `theirs` as we go holds one copy of a large model, not two; copies share no memory.
    ours = {
        own: theirs.pop(name).detach().to(torch.float32, copy=True) for own, name in names.items()
    }
    broken = [names[own] for own, tensor in ours.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise DataError(f"{path}: not finite: {listed(broken)}.", "Fetch or train it again.")
    return ours, ImportReport(mapped=len(ours), dropped=dropped)


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
    kinds = {"missing": missing, "unknown": unknown, "of another shape or type": wrong}
    faults = [f"{len(found)} {kind} ({listed(found)})" for kind, found in kinds.items() if found]
    if faults:
        raise DataError(
            f"{path}: not the authors' weights of this definition: {'; '.join(faults)}.",
            "Use the definition that the weights were trained with.",
        )


def _check_derived(theirs: Mapping[str, Tensor], spec: SlotModelSpec, path: Path) -> None:
    """Raises DataError where the file was made for another frame size or noise schedule.

    Both are constants of the definition that no weight's shape would give away.
    """
    height, width = (side // ResNet18.stride for side in spec.size)
    grid = PositionEmbedding(1, (height, width)).grid
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


def _without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    if not all(name.startswith(prefix) for name in tensors):
        return tensors
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
