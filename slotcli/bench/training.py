"""Times training steps of our form of a model and of the plain one, and measures their memory."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import device as Device

from slotcli.bench.forms import BASELINE, Arm
from slotcli.bench.models import Subject, form_of, open_subject, random_frames
from slotcli.bench.own_process import in_own_process
from slotcli.bench.roofline import roofline
from slotcli.bench.timing import Action, Timing, interleaved
from slotcli.bench.training_step import loss, peak_bytes, resident_bytes, training_step
from slotcli.compute.compiler import compile_errors, first_line
from slotcli.compute.precision import Precision, auto_precision
from slotcli.data.datasets import open_dataset
from slotcli.errors import BusyError, SlotcliError
from slotcli.model import SlotModel
from slotcli.training.networks import use_precision
from slotcli.training.optimiser import Average
from slotcli.training.parallel.peers import WHOLE, Peers
from slotcli.training.state import RunState
from slotcli.training.tasks.slots import SlotTask
from slotcli.training.update import update
from slotcli.types import ClipBatch

_LOADED_STEPS = 8  # after a first one, before which no batch is prefetched


@dataclass(frozen=True)
class TrainWork:
    """A step on `batch` clips of `clip_length` frames with the model of `reference`."""

    reference: str
    device: str
    threads: int
    arms: tuple[Arm, ...]
    batch: int
    clip_length: int
    rounds: int


@dataclass(frozen=True)
class StepComparison:
    """The variants at a whole step; `peak_bytes` is that of a process with one variant alone.

    `losses` are those of the first step, without dropout, and the same noise for all.
    `product_flops` are operations per second of cost of a matrix product, by precision; `data_wait`
    is the fraction of the time for which training waits for the definition's own data.
    """

    timings: dict[Arm, Timing]
    losses: dict[Arm, float]
    peak_bytes: dict[Arm, int | None]
    product_flops: dict[str, float]
    data_wait: float | None
    reasons: dict[str, str]

    def as_dict(self, batch: int, step_flops: int) -> dict[str, Any]:
        """Everything as plain values, with rates from `batch` clips and `step_flops` per step."""
        return {
            "arms": {
                arm.name: {
                    **timing.as_dict(),
                    "steps_per_second": 1 / timing.median,
                    "samples_per_second": batch / timing.median,
                    "flops_per_second": step_flops / timing.median,
                    "utilisation": step_flops / timing.cost / self.product_flops[arm.precision],
                    "to_plain_fp32": timing.cost / self.timings[BASELINE].cost,
                    "peak_bytes": self.peak_bytes.get(arm),
                    "loss": self.losses[arm],
                    "loss_error": abs(self.losses[arm] / self.losses[BASELINE] - 1),
                }
                for arm, timing in self.timings.items()
            },
            "product_flops_per_second": self.product_flops,
            "data_wait": self.data_wait,
            "reasons": self.reasons,
        }


def bench_train(work: TrainWork) -> StepComparison:
    """Times the variants' steps in the same rounds, their memory, and their waiting for data.

    Each is measured in a process of its own. A variant that ran out of memory is missing, with its
    reason.
    """
    try:
        timings, losses, product_flops, reasons = in_own_process(time_steps, work)
    except BusyError as error:
        reasons = {arm.name: error.what for arm in work.arms}
        return StepComparison({}, {}, {}, {}, None, reasons)
    peaks: dict[Arm, int | None] = {}
    for arm in timings:
        try:
            peaks[arm] = in_own_process(step_memory, (work, arm))
        except BusyError as error:
            reasons[f"{arm.name}, peak_bytes"] = error.what
    try:
        data_wait, why = in_own_process(time_waiting, work)
    except BusyError as error:
        data_wait, why = None, error.what
    if data_wait is None:
        reasons["data_wait"] = why
    return StepComparison(timings, losses, peaks, product_flops, data_wait, reasons)


def time_steps(
    work: TrainWork,
) -> tuple[dict[Arm, Timing], dict[Arm, float], dict[str, float], dict[str, str]]:
    """Timings, first losses, rates of matrix products, and failures, all from this process."""
    device, subject = _prepare(work)
    frames = random_frames(subject.spec, work.batch, work.clip_length).to(device)
    steps: dict[str, Action] = {}
    losses, reasons = dict[Arm, float](), dict[str, str]()
    for arm in work.arms:
        model = _network(subject.model, arm, device)
        torch.manual_seed(0)
        try:
            first = loss(model.eval(), frames, _autocast(arm)).item()
            step = training_step(model, subject.spec, frames, _autocast(arm))
            step()
        except compile_errors() as error:
            reasons[arm.name] = first_line(error)
        else:
            losses[arm], steps[arm.name] = first, step
    count = work.batch * work.clip_length
    found = interleaved(steps, frames=count, rounds=work.rounds, warm_up=0)
    timings = {arm: found[arm.name] for arm in losses}
    return timings, losses, roofline(device, work.rounds).flops_per_second, reasons


def step_memory(task: tuple[TrainWork, Arm]) -> int | None:
    """Memory of two steps, because Adam's moments are made at the end of the first."""
    work, arm = task
    device, subject = _prepare(work)
    frames = random_frames(subject.spec, work.batch, work.clip_length)
    before = resident_bytes()
    model = _network(subject.model, arm, device)
    step = training_step(model, subject.spec, frames, _autocast(arm))
    step()
    step()
    return peak_bytes(device, before)


def time_waiting(work: TrainWork) -> tuple[float | None, str]:
    """The fraction of some steps' time that is spent waiting for data; or None and the reason.

    The data are the definition's own, in batches prefetched as `train` does.
    """
    device, subject = _prepare(work)
    options = subject.spec.train.model_copy(
        update={
            "batch_size": work.batch,
            "clip_length": work.clip_length,
            "steps": 1 + _LOADED_STEPS,
            "next_frame": 0.0,  # needs more than one frame, as does the other
            "contrast_weight": 0.0,
        }
    )
    spec = subject.spec.model_copy(update={"train": options})
    try:
        data = open_dataset(options.data, spec.size)
        task = SlotTask(spec, subject.model, data, ClipBatch(random_frames(spec, 1, 1)), device)
        use_precision(task.module.train(), auto_precision(device))
        adam = torch.optim.Adam(task.parameter_groups(), lr=options.learning_rate, fused=True)
        state = RunState(task.module, Average(task.module, options.ema), adam, task.memory)
        peers, batches = Peers(device=device), task.batches
        began = waited = 0.0
        with batches:
            for number in range(options.steps):
                if number == 1:
                    began, waited = time.monotonic(), batches.waited
                update(state, task, [WHOLE], peers, options.seed, options.clip_norm)
        return (batches.waited - waited) / (time.monotonic() - began), ""
    except SlotcliError as error:
        return None, error.what


def _prepare(work: TrainWork) -> tuple[Device, Subject]:
    torch.set_num_threads(work.threads)
    device = Device(work.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device, open_subject(work.reference)


def _network(model: SlotModel, arm: Arm, device: Device) -> SlotModel:
    own = form_of(model, arm.form, device)
    if arm.form == "ours":
        use_precision(own, arm.precision)
    if arm.form == "compiled":
        for network in (own.encoder.backbone, *own.decoder.networks):
            network.compile()
    return own


def _autocast(arm: Arm) -> Precision:
    """The autocast dtype of a whole step of the plain form; in ours the networks have their own."""
    return "fp32" if arm.form == "ours" else arm.precision
