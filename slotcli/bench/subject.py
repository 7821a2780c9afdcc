"""The model that is measured, its forms, and frames of noise for it."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch import device as Device

from slotcli.bench.forms import Form
from slotcli.bench.plain_model import plain
from slotcli.build import build_model
from slotcli.checkpoint import find_definition, load_model
from slotcli.definition import load_definition
from slotcli.errors import UsageError
from slotcli.files.model_folders import weights_of
from slotcli.model import SlotModel
from slotcli.spec import SlotModelSpec


@dataclass(frozen=True)
class Subject:
    """A model to measure; without `sha256` its weights are random."""

    spec: SlotModelSpec
    model: SlotModel
    sha256: str | None


@dataclass(frozen=True)
class Work:
    """Training steps to time: `rounds` of them, on `batch` clips of `clip_length` frames."""

    device: str
    threads: int
    batch: int
    clip_length: int
    rounds: int

    def open(self, model: str | SlotModelSpec) -> tuple[Device, Subject]:
        """Device and model, in a process of their own; the model of a spec has random weights."""
        torch.set_num_threads(self.threads)
        device = Device(self.device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if isinstance(model, SlotModelSpec):
            return device, random_subject(model)
        return device, open_subject(model)


def open_subject(reference: str) -> Subject:
    """A slot model with its weights, or with random ones if it has none.

    Raises as `load_model` and `load_slot_definition`, UsageError for a codec.
    """
    if weights_of(reference) is not None:
        loaded = load_model(reference)
        spec, model = loaded.slot_model()
        return Subject(spec, model, loaded.sha256)
    return random_subject(load_slot_definition(reference))


def load_slot_definition(reference: str) -> SlotModelSpec:
    """Raises as `find_definition` and `load_definition`, UsageError for a codec's definition."""
    spec = load_definition(find_definition(reference))
    if not isinstance(spec, SlotModelSpec):
        raise UsageError(f"{reference}: is a codec, not a slot model.", "Choose a slot model.")
    return spec


def random_subject(spec: SlotModelSpec) -> Subject:
    """A model with random weights, the same at every call.

    They include those of layers initialised to zero, which would hide all layers before them.
    """
    torch.manual_seed(0)
    model = build_model(spec).eval()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return Subject(spec, model, None)


def form_of(model: SlotModel, form: Form, device: Device) -> SlotModel:
    """A copy of a model in a form, on a device, as the commands prepare it."""
    own = deepcopy(model) if form == "ours" else plain(model)
    return own.to(device).to(memory_format=torch.channels_last)


def random_frames(
    spec: SlotModelSpec, clips: int, length: int
) -> UInt8[Tensor, "{clips} {length} 3 h w"]:
    """Frames of noise, the same at every call."""
    shape = (clips, length, 3, *spec.size)
    rng = torch.Generator().manual_seed(0)
    return torch.randint(256, shape, dtype=torch.uint8, generator=rng)
