"""A training step alone, as training.loop takes it: its operations and its memory."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from slotcli.build import build_model
from slotcli.compute.precision import Precision
from slotcli.kernels.flops import FLOPS
from slotcli.model import SlotModel, normalise
from slotcli.spec import SlotModelSpec

STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Counts:
    """Parameters, and floating point operations per frame; a multiply-add counts as two.

    Operations are those of convolutions and matrix products. A training step's are forward and
    backward, with the frozen codec's target.
    """

    parameters: int
    trainable: int
    encode_flops: int
    step_flops: int


def count(spec: SlotModelSpec, clip_length: int) -> Counts:
    """Parameters and operations, from shapes alone: nothing is computed and no weights are made."""
    with torch.device("meta"):
        model = build_model(spec).train()
    model.to("meta")  # tensors made on another device too
    frames = torch.empty((1, clip_length, 3, *spec.size), dtype=torch.uint8, device="meta")
    with FlopCounterMode(display=False, custom_mapping=FLOPS) as encoding:
        model.encoder(normalise(frames))
    with FlopCounterMode(display=False, custom_mapping=FLOPS) as stepping:
        loss(model, frames).backward()
    parameters = list(model.parameters())
    return Counts(
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        encode_flops=encoding.get_total_flops() // clip_length,
        step_flops=stepping.get_total_flops() // clip_length,
    )


def loss(
    model: SlotModel, frames: UInt8[Tensor, "b t 3 h w"], precision: Precision = "fp32"
) -> Float[Tensor, ""]:
    """The loss of clips, with the frozen codec's target computed at each call; autocast at bf16."""
    narrow = torch.autocast(frames.device.type, torch.bfloat16) if precision == "bf16" else None
    with narrow or nullcontext():
        normal = normalise(frames)
        target = model.decoder.target(normal.flatten(0, 1))
        track = model.encoder(normal)
        return model.decoder.loss(track.slots.flatten(0, 1), target, track.layout)


def training_step(
    model: SlotModel,
    spec: SlotModelSpec,
    frames: UInt8[Tensor, "b t 3 h w"],
    precision: Precision = "fp32",
) -> Callable[[], None]:
    """A function that trains `model` on frames in memory: each call is one step.

    Puts the model into training mode. Weights and Adam's moments are float32 at any precision.
    """
    model.train()
    device = next(model.parameters()).device
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adam = torch.optim.Adam(trained, lr=spec.train.learning_rate)

    def step() -> None:
        loss(model, frames.to(device), precision).backward()
        nn.utils.clip_grad_norm_(trained, spec.train.clip_norm or float("inf"))
        adam.step()
        adam.zero_grad(set_to_none=True)

    return step


def resident_bytes() -> int | None:
    """Resident memory of this process in bytes; None where the kernel is not Linux."""
    return _status("VmRSS")


def peak_bytes(device: torch.device, before: int | None) -> int | None:
    """torch's peak of allocated memory on a GPU; on a CPU the peak growth of resident memory.

    `before` is `resident_bytes` at the start of the measurement, which needs a process of its own:
    the peak is over the process's whole life.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = _status("VmHWM")
    return None if before is None or peak is None else peak - before


def _status(field: str) -> int | None:
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    kibibytes = next(line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return 1024 * int(kibibytes)
