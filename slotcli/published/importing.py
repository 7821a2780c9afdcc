"""Imports the authors' weights under our names, and accounts for every one of theirs."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from slotcli.errors import DataError
from slotcli.published.derived import derived_tensors
from slotcli.published.feature_models import query_scale
from slotcli.published.files import read_state_dict
from slotcli.published.names import (
    AVERAGES,
    average_names,
    first_names,
    model_shapes,
    published_names,
)
from slotcli.spec import CodecModelSpec, SlotModelSpec, VqvaeSpec

# LPIPS and its VGG trunk: the VQ-VAE's training loss keeps them in the VQ-VAE's own checkpoint.
CODEC_LOSS = "loss.perceptual_loss."
# Parameters of the moving averages, stored beside them.
AVERAGING = frozenset({f"{AVERAGES}decay", f"{AVERAGES}num_updates"})


@dataclass(frozen=True)
class ImportReport:
    """The number of imported tensors, and the names of those dropped as not needed here.

    `averaged` of the `mapped` are moving averages of a U-Net, which the authors sample with; the
    last trained values of these tensors are among the `dropped`. Of `scaled` ones the queries were
    multiplied, because the authors' attention has another scale.
    """

    mapped: int
    dropped: list[str]
    averaged: int = 0
    scaled: int = 0


def import_published(
    path: Path,
    spec: SlotModelSpec | CodecModelSpec,
    content: dict[str, Tensor] | None = None,
) -> tuple[dict[str, Tensor], ImportReport]:
    """The tensors of the authors' checkpoint under our names, in float32, fit for `spec`.

    `path` is a .pth, .pt or .ckpt (a state dict, or a checkpoint of their trainer), .safetensors
    or .npz; `content`, which is emptied, is what was read of it before. Nothing in it is executed.
    A codec's names may have the prefix `vqvae.` or `dvae.`; where a U-Net has moving averages,
    these are used. Raises NoInputError where there is no file,
    ConfigError where `spec` has parts that the authors' models lack, and DataError where the file
    is unreadable or its tensors are not exactly those of `spec`.
    """
    theirs = read_state_dict(path) if content is None else content
    names, theirs, dropped, averaged = _matched(theirs, spec, path)
    # `theirs` is emptied meanwhile, so that a large model is in memory once, not twice.
    ours = {
        own: theirs.pop(name).detach().to(torch.float32, copy=True) for own, name in names.items()
    }
    broken = [names[own] for own, tensor in ours.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise DataError(f"{path}: not finite: {first_names(broken)}.", "Fetch or train it again.")
    scaled = 0
    for own, tensor in ours.items():
        if (scale := query_scale(own, spec)) is not None:
            rows, factor = scale
            tensor[:rows] *= factor
            scaled += 1
    report = ImportReport(len(ours), sorted(dropped), averaged, scaled)
    return ours, report


def require_published(
    theirs: dict[str, Tensor], spec: SlotModelSpec | CodecModelSpec, path: Path
) -> None:
    """Raises ConfigError or DataError, as `import_published`, where tensors do not fit `spec`."""
    _matched(theirs, spec, path)


def _matched(
    theirs: dict[str, Tensor], spec: SlotModelSpec | CodecModelSpec, path: Path
) -> tuple[dict[str, str], dict[str, Tensor], set[str], int]:
    """Our names to theirs, their tensors, the names of those dropped, the number of averages."""
    names = published_names(spec)
    theirs = _without_prefix(theirs, "module.")
    averages: dict[str, str] = {}
    if isinstance(spec, CodecModelSpec):
        theirs = _without_prefix(theirs, f"{spec.codec.kind}.")
        has_loss = isinstance(spec.codec, VqvaeSpec)
        dropped = {name for name in theirs if has_loss and name.startswith(CODEC_LOSS)}
    else:
        derived = derived_tensors(spec)
        dropped = theirs.keys() & derived.keys()
        _check_derived(theirs, derived, spec.name, path)
        if any(name.startswith(AVERAGES) for name in theirs):
            averages = average_names(names)
            dropped |= theirs.keys() & (averages.keys() | AVERAGING)
    names = {own: averages.get(name, name) for own, name in names.items()}
    _check_names(names, model_shapes(spec), theirs, dropped, path)
    return names, theirs, set(dropped), len(averages)


def _check_names(
    names: Mapping[str, str],
    shapes: Mapping[str, list[int]],
    theirs: Mapping[str, Tensor],
    dropped: Set[str],
    path: Path,
) -> None:
    wanted = {name: shapes[own] for own, name in names.items()}
    missing = sorted(wanted.keys() - theirs.keys())
    unknown = sorted(theirs.keys() - wanted.keys() - dropped)
    wrong = [
        f"{name} is {theirs[name].dtype} {list(theirs[name].shape)}, not float {wanted[name]}"
        for name in sorted(wanted.keys() & theirs.keys())
        if list(theirs[name].shape) != wanted[name] or not theirs[name].is_floating_point()
    ]
    kinds = {"missing": missing, "unknown": unknown, "of another shape or type": wrong}
    faults = [
        f"{len(found)} {kind} ({first_names(found)})" for kind, found in kinds.items() if found
    ]
    if faults:
        raise DataError(
            f"{path}: not the authors' weights of this definition: {'; '.join(faults)}.",
            "Use the definition that the weights were trained with.",
        )


def _check_derived(
    theirs: Mapping[str, Tensor], derived: Mapping[str, Tensor], model: str, path: Path
) -> None:
    """Raises DataError where the file is for another frame size, noise schedule or token order.

    These are constants of the definition, on which no weight's shape depends.
    """
    for name in sorted(theirs.keys() & derived.keys()):
        stored, own = theirs[name], derived[name]
        if stored.shape != own.shape or not torch.allclose(
            stored.double(), own.double(), rtol=1e-3, atol=1e-5
        ):
            raise DataError(
                f"{path}: {name} is not what {model} derives: the weights were trained with "
                "another frame size, noise schedule or order of tokens.",
                "Use the definition that the weights were trained with.",
            )


def _without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    if not all(name.startswith(prefix) for name in tensors):
        return tensors
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
