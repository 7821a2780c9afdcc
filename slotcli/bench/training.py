"""Times training steps of our form of a model and of the plain one, and measures their memory."""

import time
from dataclasses import dataclass, replace

import torch
from torch import device as Device

from slotcli.bench.comparison import Comparison, Measured, measure, ratio
from slotcli.bench.forms import BASELINE, Variant
from slotcli.bench.own_process import in_own_process
from slotcli.bench.roofline import roofline
from slotcli.bench.subject import Work, form_of, random_frames
from slotcli.bench.timing import Action, Timing, timed
from slotcli.bench.training_step import loss, peak_bytes, resident_bytes, training_step
from slotcli.compute.precision import Precision, auto_precision
from slotcli.data.datasets import open_dataset
from slotcli.errors import SlotcliError
from slotcli.model import SlotModel
from slotcli.spec import SlotModelSpec
from slotcli.training.networks import use_precision
from slotcli.training.optimiser import Average
from slotcli.training.parallel.peers import WHOLE, Peers
from slotcli.training.state import RunState
from slotcli.training.tasks.slots import SlotTask
from slotcli.training.update import update
from slotcli.types import ClipBatch

_LOADED_STEPS = 8  # after a first one, before which no batch is prefetched


@dataclass(frozen=True)
class StepComparison:
    """The variants at a whole step; memory is that of a process with one variant alone.

    `loss` is that of the first step, without dropout, and with the same noise for all.
    `product_flops` are operations per second of cost of a matrix product, by precision; `data_wait`
    is the fraction of the time for which training waits for the definition's own data.
    """

    steps: Comparison
    product_flops: dict[str, float]
    data_wait: float | None


def bench_train(
    reference: str, work: Work, variants: list[Variant], step_flops: int
) -> StepComparison:
    """Times the variants' steps in the same rounds, their memory, and their waiting for data.

    Each is measured in a process of its own. A variant that ran out of memory is missing, with its
    reason.
    """
    name = f"a step of {work.batch} x {work.clip_length} frames"
    frames = work.batch * work.clip_length
    measured, why = in_own_process(time_steps, (reference, work, variants))
    if measured is None:
        reasons = {variant.name: why for variant in variants}
        return StepComparison(Comparison(name, frames, {}, {}, reasons), {}, None)
    found, product_flops = measured
    timings, reasons = found.timings, {variant.name: why for variant, why in found.reasons.items()}
    figures = {}
    for variant, timing in timings.items():
        alone, why = in_own_process(step_cost, (reference, replace(work, rounds=1), variant))
        if alone is None:
            reasons[f"{variant.name}, peak_bytes"] = why
        figures[variant] = {
            "steps_per_second": 1 / timing.median,
            "samples_per_second": work.batch / timing.median,
            "flops_per_second": step_flops / timing.median,
            "utilisation": step_flops / timing.cost / product_flops[variant.precision],
            "to_plain_fp32": ratio(timings, variant),
            "peak_bytes": alone and alone[1],
            "loss": found.results[variant],
            "loss_error": abs(found.results[variant] / found.results[BASELINE] - 1),
        }
    waiting, why = in_own_process(time_waiting, (reference, work))
    data_wait, why = waiting or (None, why)
    if data_wait is None:
        reasons["data_wait"] = why
    steps = Comparison(name, frames, timings, figures, reasons)
    return StepComparison(steps, product_flops, data_wait)


def time_steps(
    job: tuple[str, Work, list[Variant]],
) -> tuple[Measured[Variant, float], dict[str, float]]:
    """Steps with their first losses as results, and the rates of matrix products."""
    reference, work, variants = job
    device, subject = work.open(reference)
    frames = random_frames(subject.spec, work.batch, work.clip_length).to(device)

    def prepare(variant: Variant) -> Action[float]:
        model = _network(subject.model, variant, device)
        torch.manual_seed(0)
        first = loss(model.eval(), frames, _autocast(variant)).item()
        step = training_step(model, subject.spec, frames, _autocast(variant))

        def act() -> float:
            step()
            return first

        return act

    measured = measure(variants, prepare, frames=work.batch * work.clip_length, rounds=work.rounds)
    return measured, roofline(device, work.rounds).flops_per_second


def step_cost(job: tuple[str | SlotModelSpec, Work, Variant]) -> tuple[Timing, int | None]:
    """A step of one variant alone, on frames in memory: time, and memory as `peak_bytes`.

    The memory includes the weights, their gradients and Adam's two moments.
    """
    model, work, variant = job
    device, subject = work.open(model)
    frames = random_frames(subject.spec, work.batch, work.clip_length)
    before = resident_bytes()
    network = _network(subject.model, variant, device)
    step = training_step(network, subject.spec, frames, _autocast(variant))
    # Adam's moments are made at the end of its first step: only the second one has its full size.
    timing = timed(step, work.batch * work.clip_length, work.rounds, warm_up=1)
    return timing, peak_bytes(device, before)


def time_waiting(job: tuple[str, Work]) -> tuple[float | None, str]:
    """The fraction of some steps' time that is spent waiting for data; or None and the reason.

    The data are the definition's own, in batches prefetched as `train` does.
    """
    reference, work = job
    device, subject = work.open(reference)
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


def _network(model: SlotModel, variant: Variant, device: Device) -> SlotModel:
    built = form_of(model, variant.form, device)
    if variant.form == "ours":
        use_precision(built, variant.precision)
    if variant.form == "compiled":
        for network in (built.encoder.backbone, *built.decoder.networks):
            network.compile()
    return built


def _autocast(variant: Variant) -> Precision:
    """The autocast dtype of a whole step of the plain form; in ours the networks have their own."""
    return "fp32" if variant.form == "ours" else variant.precision
