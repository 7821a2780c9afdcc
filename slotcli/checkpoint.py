"""One safetensors file is a whole model: its spec, its weights, its step.

The metadata is a single key of sorted JSON, since safetensors writes several keys in no fixed order
and the file would not be reproducible.
"""

import errno
import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from slotcli.build import build_shapes
from slotcli.codecs.dvae import Dvae
from slotcli.codecs.vqvae import Vqvae
from slotcli.decoders.masks_only import MasksOnly
from slotcli.definition import parse_spec, spec_json
from slotcli.errors import (
    AccessError,
    CannotCreateError,
    ConfigError,
    DataError,
    NoInputError,
    OutputError,
    SlotcliError,
    UnavailableError,
    UsageError,
)
from slotcli.files.model_folders import DEFINITION as DEFINITION
from slotcli.files.model_folders import WEIGHTS, find_weights
from slotcli.files.model_folders import find_definition as find_definition
from slotcli.files.model_folders import find_model as find_model
from slotcli.files.model_folders import model_folders as model_folders
from slotcli.model import SlotModel
from slotcli.spec import CodecModelSpec, SlotModelSpec
from slotcli.types import Size

SCHEMA = "slotcli.model/1"
DIGEST = "sha256"
_ASSIGNED = re.compile(r"([^/'\"]*=)(/[^'\"]*)")  # key=/path, as in options and --set
_QUOTED = re.compile(r"(['\"])(/[^'\"]*)\1")  # within a table: {path = "/path"}
MOST_SHOWN = 200  # characters quoted from a damaged file


@dataclass(frozen=True)
class LoadedModel:
    spec: SlotModelSpec | CodecModelSpec
    module: SlotModel | Vqvae | Dvae
    step: int
    sha256: str
    path: Path
    same_tensors_as: frozenset[str] = frozenset()
    """Hashes of earlier files with exactly the same tensors, whose slots are this model's too."""

    def slot_model(self) -> tuple[SlotModelSpec, SlotModel]:
        """Spec and module of a slot model. Raises UsageError for a codec."""
        if isinstance(self.spec, SlotModelSpec) and isinstance(self.module, SlotModel):
            return self.spec, self.module
        raise UsageError(f"{self.path}: is a codec, not a slot model.", "Choose a slot model.")


def model_size(reference: str) -> Size:
    """Height and width of a model's frames, from its weights' header alone.

    Raises as `find_weights`, and DataError where the header is damaged.
    """
    path = find_weights(reference)
    try:
        with safe_open(path, framework="pt") as file:
            size = json.loads((file.metadata() or {}).get("slotcli", "{}"))["spec"]["size"]
        return int(size[0]), int(size[1])
    except (SafetensorError, ValueError, LookupError, TypeError, OSError, RecursionError):
        pass
    load_model(reference)  # raises its precise error
    raise DataError(f"{path}: its definition has no size.", "Fetch or train it again.")


def load_model(reference: str) -> LoadedModel:
    """The model in a weights file, in evaluation mode on the CPU, in float32.

    Raises NoInputError or UnavailableError where there is none, DataError where it is damaged or
    its tensors are not exactly those of its spec.
    """
    path = find_weights(reference)
    tensors, metadata = read_tensors(path)
    if metadata.get("schema") != SCHEMA:
        raise DataError(
            f"{path}: not a slotcli model file.", "Import it with: slotcli models import."
        )
    values, step = metadata.get("spec"), metadata.get("step")
    if not isinstance(values, dict) or not isinstance(step, int):
        raise DataError(f"{path}: its definition or step is damaged.", "Fetch or train it again.")
    try:
        spec = parse_spec(values, f"{path}: its definition")
        # On the meta device: a definition may require far more memory than the file has, and
        # weights that are replaced at once need no random values.
        module = build_shapes(spec)
    except ConfigError as error:  # not a user's configuration: it is from the weights file
        raise DataError(error.what, "Fetch or train it again, with this slotcli.") from None
    load_strictly(module, tensors, str(path), assign=True)
    provenance = metadata.get("provenance")
    earlier = provenance.get("same_tensors_as", []) if isinstance(provenance, dict) else []
    return LoadedModel(
        spec, module.eval(), step, file_sha256(path), path, frozenset(map(str, earlier))
    )


def load_codec_into(model: SlotModel, spec: SlotModelSpec) -> str | None:
    """Loads the trained codec of the spec into the model's decoder; returns its hash.

    Returns None, and does nothing, for a decoder that works without one.

    Raises UnavailableError where its weights are missing and DataError where it is another codec: a
    decoder on an untrained codec would train, and never decode an image.
    """
    if spec.train.codec is None:
        return None
    loaded = load_model(spec.train.codec)
    if not isinstance(loaded.spec, CodecModelSpec) or loaded.spec.codec != spec.codec:
        raise DataError(
            f"{loaded.path}: this is not the codec that {spec.name} defines.",
            "Make [decoder] codec and the codec's own definition the same, or set train.codec.",
        )
    model.get_submodule("decoder.codec").load_state_dict(loaded.module.state_dict())
    return loaded.sha256


def start_from(model: SlotModel, loaded: LoadedModel) -> str | None:
    """Loads initial weights for training; only the encoder's where one of the two has no decoder.

    Returns a remark on what that leaves out. Raises DataError where the weights do not fit.
    """
    other, origin = loaded.module, str(loaded.path)
    if isinstance(other, SlotModel):
        had, has = (not isinstance(one.decoder, MasksOnly) for one in (other, model))
        if had is not has:
            load_strictly(model.encoder, other.encoder.state_dict(), origin)
            if has:
                return "has no decoder: the new one starts untrained."
            return "has a decoder, which this definition does not use."
    load_strictly(model, other.state_dict(), origin)
    return None


def load_strictly(
    module: nn.Module, tensors: dict[str, Tensor], origin: str, *, assign: bool = False
) -> None:
    """Loads tensors into a module; DataError lists the missing, extra and misshapen ones.

    With `assign` they replace its own tensors, which may then be on the meta device.
    """
    expected = module.state_dict()
    require_fit(expected, tensors, origin)
    fitting = {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}
    module.load_state_dict(fitting, assign=assign)


def require_fit(expected: dict[str, Tensor], tensors: dict[str, Tensor], origin: str) -> None:
    """Raises DataError that lists missing, misshapen and extra tensors."""
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    shapes = [
        f"{name} is {list(tensors[name].shape)}, not {list(expected[name].shape)}"
        for name in sorted(expected.keys() & tensors.keys())
        if expected[name].shape != tensors[name].shape
    ]
    extra = [shorten(name, MOST_SHOWN) for name in extra]
    if missing or extra or shapes:
        raise DataError(
            f"{origin}: the weights do not fit the definition: "
            f"{len(missing)} missing {missing[:5]}, {len(extra)} unexpected {extra[:5]}, "
            f"{len(shapes)} of another shape {shapes[:5]}.",
            "Use the definition that the weights were trained with.",
        )


def save_model(
    path: Path,
    spec: SlotModelSpec | CodecModelSpec,
    tensors: dict[str, Tensor],
    step: int,
    provenance: dict[str, Any],
) -> None:
    """Writes a model file beside `path`, then renames it, without any path of this machine.

    Raises as `write_tensors` does.
    """
    facts = {"spec": spec_json(spec), "step": step, "provenance": provenance}
    write_tensors(path, tensors, {"schema": SCHEMA, **portable(facts)})


def portable(value: Any) -> Any:
    """JSON values with each absolute path replaced by a name: files go to other machines."""
    match value:
        case dict():
            return {key: portable(inner) for key, inner in value.items()}
        case list() | tuple():
            return [portable(inner) for inner in value]
        case str() if value.startswith("/"):
            return _name_of(value)
        case str() if (assigned := _ASSIGNED.fullmatch(value)) is not None:
            return assigned[1] + _name_of(assigned[2])
        case str():
            return _QUOTED.sub(lambda found: found[1] + _name_of(found[2]) + found[1], value)
    return value


def codec_facts(spec: SlotModelSpec | CodecModelSpec) -> dict[str, str | None] | None:
    """Name and weights' hash of the codec that a model is trained on; None where it has none.

    The hash is None where those weights no longer exist.
    """
    if not isinstance(spec, SlotModelSpec) or spec.train.codec is None:
        return None
    name = portable(spec.train.codec)
    try:
        return {"name": name, "weights_sha256": file_sha256(find_weights(spec.train.codec))}
    except (NoInputError, UnavailableError):
        return {"name": name, "weights_sha256": None}


def _name_of(path: str) -> str:
    """The name of a model or a folder: weights have their folder's name."""
    place = Path(path)
    return (place.parent.name if place.name == WEIGHTS else place.name) or "root"


def _digest(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> str:
    """The hash of everything in a file: safetensors itself loads flipped bits silently."""
    total = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        content = tensor.detach().cpu().contiguous()
        total.update(f"{name} {content.dtype} {list(content.shape)}".encode())
        total.update(content.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def file_sha256(path: Path) -> str:
    """The hash of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of one of our safetensors files, or DataError.

    Where the metadata has a digest, as in every file written now, everything is checked against it.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = json.loads((file.metadata() or {}).get("slotcli", "{}"))
    except (SafetensorError, ValueError, OSError, RecursionError) as error:
        reason = shorten(str(error), MOST_SHOWN)
        raise DataError(f"{path}: unreadable: {reason}.", "Fetch or train it again.") from None
    if not isinstance(metadata, dict):
        raise DataError(f"{path}: its metadata is not a table.", "Fetch or train it again.")
    digest = metadata.pop(DIGEST, None)
    if digest is not None and digest != _digest(tensors, metadata):
        raise DataError(
            f"{path}: its content does not match its digest.", "Fetch or train it again."
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DataError(f"{path}: {name} is not finite.", "Fetch or train it again.")
    return tensors, metadata


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Writes one of our safetensors files, with a digest, beside `path`, then renames it.

    Raises OutputError (disk full, I/O error), AccessError (permission) or CannotCreateError.
    """
    partial = path.with_name(path.name + ".part")
    digested = metadata | {DIGEST: _digest(tensors, metadata)}
    text = json.dumps(digested, sort_keys=True, separators=(",", ":"))
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        # safetensors' own writer hides the error, and makes files that only their owner can read.
        partial.write_bytes(save(contiguous, metadata={"slotcli": text}))
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):  # the first error is the one to report
            partial.unlink()
        raise _write_error(path, error) from None


def _write_error(path: Path, error: OSError) -> SlotcliError:
    what = f"{path}: cannot be written: {error.strerror or error}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(what, "Free some space, and run again.")
    if error.errno == errno.EIO:
        return OutputError(what, "Check the disk.")
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return AccessError(what, "Choose a folder that you may write to.")
    return CannotCreateError(what, "Check the folder.")
