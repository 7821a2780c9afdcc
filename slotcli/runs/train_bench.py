"""Training steps of our form of a model and of the plain one, and the memory of each."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import device as Device

from slotcli.errors import BusyError
from slotcli.model import SlotModel
from slotcli.runs.arms import BASELINE, Arm, CompileError, failure
from slotcli.runs.model_bench import Subject, form_of, open_subject, random_frames
from slotcli.runs.own_process import in_own_process
from slotcli.runs.timing import Action, Timing, interleaved
from slotcli.runs.training_step import loss, peak_bytes, resident_bytes, training_step

_NARROW = "Training runs in float32 on a CPU."


@dataclass(frozen=True)
class TrainWork:
    """`batch` clips of `clip_length` frames in a step, on what `reference` names."""

    reference: str
    device: str
    threads: int
    arms: tuple[Arm, ...]
    batch: int
    clip_length: int
    rounds: int


@dataclass(frozen=True)
class StepComparison:
    """The arms at a whole step; `peak_bytes` is that of a process with one arm alone.

    `losses` are those of the first step, without dropout, and the same noise for all.
    """

    timings: dict[Arm, Timing]
    losses: dict[Arm, float]
    peak_bytes: dict[Arm, int | None]
    reasons: dict[str, str]

    def as_dict(self, batch: int, step_flops: int) -> dict[str, Any]:
        """Everything as plain values, with rates of steps of so many clips and operations."""
        return {
            "arms": {
                arm.name: {
                    **timing.as_dict(),
                    "steps_per_second": 1 / timing.median,
                    "samples_per_second": batch / timing.median,
                    "flops_per_second": step_flops / timing.median,
                    "to_plain_fp32": timing.cost / self.timings[BASELINE].cost,
                    "peak_bytes": self.peak_bytes.get(arm),
                    "loss": self.losses[arm],
                    "loss_error": abs(self.losses[arm] / self.losses[BASELINE] - 1),
                }
                for arm, timing in self.timings.items()
            },
            "reasons": self.reasons,
        }


def arms_of_training(
    arms: list[Arm], reasons: dict[str, str], device: Device
) -> tuple[list[Arm], dict[str, str]]:
    """Those of the arms in which training would run on a device, and why not the others."""
    if device.type == "cuda":
        return arms, reasons
    narrow = {arm.name: _NARROW for arm in arms if arm.precision == "bf16"}
    return [arm for arm in arms if arm.precision == "fp32"], reasons | narrow


def bench_train(work: TrainWork) -> StepComparison:
    """Times the arms' steps in the same rounds, in a process of its own; then each one's memory.

    What memory was too small for is missing, with its reason.
    """
    try:
        timings, losses, reasons = in_own_process(time_steps, work)
    except BusyError as error:
        return StepComparison({}, {}, {}, {arm.name: error.what for arm in work.arms})
    peaks: dict[Arm, int | None] = {}
    for arm in timings:
        try:
            peaks[arm] = in_own_process(step_memory, (work, arm))
        except BusyError as error:
            reasons[f"{arm.name}, peak_bytes"] = error.what
    return StepComparison(timings, losses, peaks, reasons)


def time_steps(work: TrainWork) -> tuple[dict[Arm, Timing], dict[Arm, float], dict[str, str]]:
    """Timings, first losses and failures of all arms, side by side in this process."""
    device, subject = _prepare(work)
    frames = random_frames(subject.spec, work.batch, work.clip_length).to(device)
    steps: dict[str, Action] = {}
    losses, reasons = dict[Arm, float](), dict[str, str]()
    for arm in work.arms:
        model = _network(subject.model, arm, device)
        torch.manual_seed(0)
        try:
            with torch.no_grad():
                first = loss(model.eval(), frames, arm.precision).item()
            step = training_step(model, subject.spec, frames, arm.precision)
            step()
        except CompileError as error:
            reasons[arm.name] = failure(error)
        else:
            losses[arm], steps[arm.name] = first, step
    count = work.batch * work.clip_length
    found = interleaved(steps, frames=count, rounds=work.rounds, warm_up=0)
    return {arm: found[arm.name] for arm in losses}, losses, reasons


def step_memory(task: tuple[TrainWork, Arm]) -> int | None:
    """Memory of two steps, for Adam's moments are made at the end of the first."""
    work, arm = task
    device, subject = _prepare(work)
    frames = random_frames(subject.spec, work.batch, work.clip_length)
    before = resident_bytes()
    model = _network(subject.model, arm, device)
    step = training_step(model, subject.spec, frames, arm.precision)
    step()
    step()
    return peak_bytes(device, before)


def _prepare(work: TrainWork) -> tuple[Device, Subject]:
    torch.set_num_threads(work.threads)
    device = Device(work.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device, open_subject(work.reference)


def _network(model: SlotModel, arm: Arm, device: Device) -> SlotModel:
    own = form_of(model, arm.form, device)
    if arm.form == "compiled":
        for network in (own.encoder.backbone, *own.decoder.networks):
            network.compile()
    return own
