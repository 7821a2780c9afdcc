"""Finds the definition of this installation whose tensors a foreign file has."""

from pathlib import Path

from torch import Tensor

from slotcli.checkpoint import DEFINITION, model_folders
from slotcli.definition import load_definition
from slotcli.errors import ConfigError, DataError
from slotcli.published.importing import require_published
from slotcli.spec import CodecModelSpec, SlotModelSpec, VitSpec


def recognised(theirs: dict[str, Tensor], path: Path) -> list[Path]:
    """The definitions with exactly the tensors of a file, sorted by name.

    There may be several: networks that differ only in their training, or in the number of slots
    where these are sampled. Raises DataError where there is none.
    """
    matching = []
    for folder in model_folders():
        spec = load_definition(folder / DEFINITION)
        if not _may_fit(theirs, spec):
            continue
        try:
            require_published(dict(theirs), spec, path)
        except (ConfigError, DataError):
            continue
        matching.append(folder / DEFINITION)
    if not matching:
        raise DataError(
            f"{path}: no definition here has exactly these {len(theirs)} tensors.",
            "Name the nearest with --definition (slotcli models list), to be told what differs.",
        )
    return matching


def _may_fit(theirs: dict[str, Tensor], spec: SlotModelSpec | CodecModelSpec) -> bool:
    """Whether backbone and slots have the definition's shapes; building each network is slow."""
    patches = [
        list(tensor.shape)
        for name, tensor in theirs.items()
        if name.endswith("backbone.model.patch_embed.proj.weight")
    ]
    backbone = spec.encoder.backbone if isinstance(spec, SlotModelSpec) else None
    if not patches or not isinstance(backbone, VitSpec) or not isinstance(spec, SlotModelSpec):
        return not patches and not isinstance(backbone, VitSpec)
    slots = [tensor for name, tensor in theirs.items() if name.startswith("initializer.")]
    return (
        patches[0] == [backbone.width, 3, backbone.patch, backbone.patch]
        and bool(slots)
        and slots[0].shape[-1] == spec.slot_dim
    )
