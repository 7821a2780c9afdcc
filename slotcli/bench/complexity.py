"""The cost of a system on the present device: the paper's Table 4, and its components."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from slotcli.bench.own_process import in_own_process
from slotcli.bench.timing import Timing, timed
from slotcli.bench.training_step import STATUS, loss, peak_bytes, resident_bytes, training_step
from slotcli.build import build_model
from slotcli.decoders.base import RenderOptions
from slotcli.decoders.token_transformer import TokenTransformer
from slotcli.errors import BusyError
from slotcli.kernels.flops import FLOPS
from slotcli.model import normalise
from slotcli.spec import SlotModelSpec

VIDEOS, FRAMES_EACH = 100, 24  # as Table 4 reconstructs


@dataclass(frozen=True)
class Workload:
    """The work to run. Each part is timed `repeats` times, after `warm_up` untimed runs.

    A training step takes `batch` clips of `clip_length` frames. `uncached` also times a token
    transformer that recomputes the whole prefix for every token.
    """

    device: str
    threads: int
    batch: int
    clip_length: int
    repeats: int
    warm_up: int
    encoded_frames: int
    drawn_frames: int
    uncached: bool


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


@dataclass(frozen=True)
class StepCost:
    """A training step: its time, and its memory in bytes, None where the system does not report it.

    On a GPU the memory is torch's peak of allocated memory, on a CPU the growth of the process's
    resident memory from before the model is made to the peak. Both include the weights, their
    gradients and Adam's two moments.
    """

    time: Timing
    peak_bytes: int | None


@dataclass(frozen=True)
class DrawingCost:
    """Cost from frames to slots, and from slots to frames as `reconstruct` renders by default."""

    encode: Timing
    render: Timing
    render_uncached: Timing | None


@dataclass(frozen=True)
class Complexity:
    """One system's costs; an unmeasured one is None, with its reason."""

    counts: Counts
    step: StepCost | None
    drawing: DrawingCost | None
    reasons: dict[str, str]

    @property
    def reconstruction_seconds(self) -> float | None:
        """Seconds for VIDEOS videos of FRAMES_EACH frames, extrapolated from fewer frames."""
        if self.drawing is None:
            return None
        per_frame = self.drawing.encode.per_frame + self.drawing.render.per_frame
        return VIDEOS * FRAMES_EACH * per_frame

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values; a None has its reason under the same name in `reasons`."""
        drawing = self.drawing
        uncached = drawing.render_uncached if drawing else None
        return {
            "parameters": self.counts.parameters,
            "trainable_parameters": self.counts.trainable,
            "encode_flops_per_frame": self.counts.encode_flops,
            "training_step_flops_per_frame": self.counts.step_flops,
            "training_step": self.step and self.step.time.as_dict(),
            "training_step_peak_bytes": self.step and self.step.peak_bytes,
            "encode": drawing and drawing.encode.as_dict(),
            "render": drawing and drawing.render.as_dict(),
            "render_uncached": uncached and uncached.as_dict(),
            "reconstruction": drawing
            and {
                "videos": VIDEOS,
                "frames_each": FRAMES_EACH,
                "seconds": self.reconstruction_seconds,
                "extrapolated_from_encoded_frames": drawing.encode.frames,
                "extrapolated_from_drawn_frames": drawing.render.frames,
                "drawn_frames_factor": VIDEOS * FRAMES_EACH / drawing.render.frames,
            },
            "reasons": self.reasons,
        }


def complexity(spec: SlotModelSpec, work: Workload) -> Complexity:
    """Counts and measures a system with random weights on random frames.

    Training and rendering are measured one after the other, each in a process of its own, so that
    neither includes the other's memory. Raises ConfigError for a spec that cannot be built.
    """
    counts, reasons = count(spec, work.clip_length), dict[str, str]()
    step = drawing = None
    try:
        step = in_own_process(step_cost, (spec, work))
    except BusyError as error:
        reasons |= dict.fromkeys(("training_step", "training_step_peak_bytes"), error.what)
    else:
        if step.peak_bytes is None:
            reasons["training_step_peak_bytes"] = f"This system has no {STATUS}."
    try:
        drawing = in_own_process(drawing_cost, (spec, work))
    except BusyError as error:
        reasons |= dict.fromkeys(("encode", "render", "reconstruction"), error.what)
    if drawing is None or drawing.render_uncached is None:
        reasons["render_uncached"] = _why_not_uncached(spec, work, reasons.get("render"))
    return Complexity(counts, step, drawing, reasons)


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


def step_cost(task: tuple[SlotModelSpec, Workload]) -> StepCost:
    """A step as in training.loop, on frames in memory, with the codec's target."""
    spec, work = task
    device = _prepare(work)
    before = resident_bytes()
    model = build_model(spec).to(device).to(memory_format=torch.channels_last)
    step = training_step(model, spec, _random_frames(spec, work.batch, work.clip_length))
    # Adam's moments are made at the end of its first step: only the second one has its full size.
    timing = timed(step, work.batch * work.clip_length, work.repeats, max(1, work.warm_up))
    return StepCost(timing, peak_bytes(device, before))


@torch.inference_mode()
def drawing_cost(task: tuple[SlotModelSpec, Workload]) -> DrawingCost:
    """Encodes a clip and renders its frames from their slots, as the commands do."""
    spec, work = task
    device = _prepare(work)
    model = build_model(spec).to(device).eval()
    # A system without a predictor is not recurrent: its frames are clips of one.
    single = spec.encoder.predictor is None
    count, length = (work.encoded_frames, 1) if single else (1, work.encoded_frames)
    frames = _random_frames(spec, count, length).to(device)
    track = model.encode(frames)
    slots = track.slots.flatten(0, 1)
    rows = torch.arange(work.drawn_frames) % len(slots)
    chosen, seen = slots[rows], track.layout[rows]

    encode = timed(lambda: model.encode(frames), work.encoded_frames, work.repeats, work.warm_up)
    render = timed(
        lambda: model.decoder.render(chosen, RenderOptions(evaluations=20), seen),
        work.drawn_frames,
        work.repeats,
        work.warm_up,
    )
    decoder, uncached = model.decoder, None
    if work.uncached and isinstance(decoder, TokenTransformer):
        uncached = timed(lambda: decoder.generate(chosen[:1], cached=False), 1, 1, 0)
    return DrawingCost(encode, render, uncached)


def _why_not_uncached(spec: SlotModelSpec, work: Workload, failure: str | None) -> str:
    if spec.decoder.kind != "token_transformer":
        return "This decoder has no cache."
    return failure or "It takes minutes and was not asked for (--uncached)."


def _prepare(work: Workload) -> torch.device:
    torch.set_num_threads(work.threads)
    torch.manual_seed(0)
    device = torch.device(work.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _random_frames(spec: SlotModelSpec, clips: int, length: int) -> UInt8[Tensor, "b t 3 h w"]:
    return torch.randint(256, (clips, length, 3, *spec.size), dtype=torch.uint8)
