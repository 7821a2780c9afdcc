"""What a system costs on the present device: the paper's Table 4, and what stands behind it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from slotcli.build import build_model
from slotcli.decoders.base import Drawing
from slotcli.decoders.token_transformer import TokenTransformer
from slotcli.errors import BusyError
from slotcli.kernels.flops import FLOPS
from slotcli.model import SlotModel, normalise
from slotcli.runs.own_process import in_own_process
from slotcli.spec import SlotModelSpec

VIDEOS, FRAMES_EACH = 100, 24  # that Table 4 reconstructs
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Workload:
    """What is run. Each is timed `repeats` times, after `warm_up` runs that are not.

    A training step takes `batch` clips of `clip_length` frames. `uncached` also times a token
    transformer that computes the whole prefix again for every token.
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
    """Parameters, and floating point operations a frame: a multiplication and an addition are two.

    Operations are those of convolutions and matrix products. A training step's are forward and
    backward, with the frozen codec's target.
    """

    parameters: int
    trainable: int
    encode_flops: int
    step_flops: int


@dataclass(frozen=True)
class Timing:
    """Seconds of each run over so many frames, by the clock and of all CPU threads together.

    On a busy machine the clock also counts what others do.
    """

    frames: int
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def per_frame(self) -> float:
        return self.median / self.frames

    def as_dict(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "median_seconds": self.median,
            "lowest_seconds": min(self.seconds),
            "highest_seconds": max(self.seconds),
            "seconds_per_frame": self.per_frame,
            "median_cpu_seconds": median(self.cpu_seconds),
            "runs": list(self.seconds),
        }


@dataclass(frozen=True)
class StepCost:
    """A training step: its time, and its memory in bytes, None where the system does not tell.

    On a GPU the memory is what torch has allocated at its peak, on a CPU the growth of the
    process's resident memory from before the model is made to the peak. Both hold the weights,
    their gradients and Adam's two moments.
    """

    time: Timing
    peak_bytes: int | None


@dataclass(frozen=True)
class DrawingCost:
    """From frames to slots, and from slots to frames, as `reconstruct` draws by default."""

    encode: Timing
    render: Timing
    render_uncached: Timing | None


@dataclass(frozen=True)
class Complexity:
    """One system's costs; what could not be measured is None and has its reason."""

    counts: Counts
    step: StepCost | None
    drawing: DrawingCost | None
    reasons: dict[str, str]

    @property
    def reconstruction_seconds(self) -> float | None:
        """VIDEOS videos of FRAMES_EACH frames encoded and drawn, extrapolated from fewer frames."""
        if self.drawing is None:
            return None
        per_frame = self.drawing.encode.per_frame + self.drawing.render.per_frame
        return VIDEOS * FRAMES_EACH * per_frame

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values; None with a reason under the same name in `reasons`."""
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
    """Count and measure a system with random weights on random frames.

    Training and drawing are measured one after the other, each in a process of its own, so that
    neither finds the other's memory. Raises ConfigError for a spec that cannot be built.
    """
    counts, reasons = count(spec, work.clip_length), dict[str, str]()
    step = drawing = None
    try:
        step = in_own_process(step_cost, (spec, work))
    except BusyError as error:
        reasons |= dict.fromkeys(("training_step", "training_step_peak_bytes"), error.what)
    else:
        if step.peak_bytes is None:
            reasons["training_step_peak_bytes"] = f"This system has no {_STATUS}."
    try:
        drawing = in_own_process(drawing_cost, (spec, work))
    except BusyError as error:
        reasons |= dict.fromkeys(("encode", "render", "reconstruction"), error.what)
    if drawing is None or drawing.render_uncached is None:
        reasons["render_uncached"] = _why_not_uncached(spec, work, reasons.get("render"))
    return Complexity(counts, step, drawing, reasons)


def count(spec: SlotModelSpec, clip_length: int) -> Counts:
    """Parameters and operations, of shapes alone: nothing is computed and no weights are made."""
    with torch.device("meta"):
        model = build_model(spec).train()
    frames = torch.empty((1, clip_length, 3, *spec.size), dtype=torch.uint8, device="meta")
    with FlopCounterMode(display=False, custom_mapping=FLOPS) as encoding:
        model.encoder(normalise(frames))
    with FlopCounterMode(display=False, custom_mapping=FLOPS) as stepping:
        _loss(model, frames).backward()
    parameters = list(model.parameters())
    return Counts(
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        encode_flops=encoding.get_total_flops() // clip_length,
        step_flops=stepping.get_total_flops() // clip_length,
    )


def step_cost(task: tuple[SlotModelSpec, Workload]) -> StepCost:
    """A step as in training.loop, on frames that are there already, with the codec's target."""
    spec, work = task
    device = _prepare(work)
    before = _resident_bytes("VmRSS")
    model = build_model(spec).to(device).to(memory_format=torch.channels_last).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adam = torch.optim.Adam(trained, lr=spec.train.learning_rate)
    frames = _random_frames(spec, work.batch, work.clip_length)

    def step() -> None:
        loss = _loss(model, frames.to(device))
        loss.backward()
        nn.utils.clip_grad_norm_(trained, spec.train.clip_norm or float("inf"))
        adam.step()
        adam.zero_grad(set_to_none=True)

    # Adam's moments are made at the end of its first step: only the second one has its full size.
    timing = _timed(step, work.batch * work.clip_length, work.repeats, max(1, work.warm_up))
    peak: int | None
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    else:
        after = _resident_bytes("VmHWM")
        peak = None if before is None or after is None else after - before
    return StepCost(timing, peak)


@torch.inference_mode()
def drawing_cost(task: tuple[SlotModelSpec, Workload]) -> DrawingCost:
    """Encoding a clip and drawing its frames from their slots, as the commands do."""
    spec, work = task
    device = _prepare(work)
    model = build_model(spec).to(device).eval()
    # A system without a predictor has no time: its frames are clips of one.
    single = spec.encoder.predictor is None
    count, length = (work.encoded_frames, 1) if single else (1, work.encoded_frames)
    frames = _random_frames(spec, count, length).to(device)
    slots = model.encode(frames).slots.flatten(0, 1)
    chosen = slots.repeat(-(-work.drawn_frames // len(slots)), 1, 1)[: work.drawn_frames]

    encode = _timed(lambda: model.encode(frames), work.encoded_frames, work.repeats, work.warm_up)
    render = _timed(
        lambda: model.decoder.render(chosen, Drawing()),
        work.drawn_frames,
        work.repeats,
        work.warm_up,
    )
    decoder, uncached = model.decoder, None
    if work.uncached and isinstance(decoder, TokenTransformer):
        uncached = _timed(lambda: decoder.generate(chosen[:1], cached=False), 1, 1, 0)
    return DrawingCost(encode, render, uncached)


def _why_not_uncached(spec: SlotModelSpec, work: Workload, failure: str | None) -> str:
    if spec.decoder.kind != "token_transformer":
        return "This decoder has no cache."
    return failure or "It takes minutes and was not asked for (--uncached)."


def _loss(model: SlotModel, frames: UInt8[Tensor, "b t 3 h w"]) -> Tensor:
    normal = normalise(frames)
    target = model.decoder.target(normal.flatten(0, 1))
    return model.decoder.loss(model.encoder(normal).slots.flatten(0, 1), target)


def _prepare(work: Workload) -> torch.device:
    torch.set_num_threads(work.threads)
    torch.manual_seed(0)
    device = torch.device(work.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _random_frames(spec: SlotModelSpec, clips: int, length: int) -> UInt8[Tensor, "b t 3 h w"]:
    return torch.randint(256, (clips, length, 3, *spec.size), dtype=torch.uint8)


def _timed(action: Callable[[], object], frames: int, repeats: int, warm_up: int) -> Timing:
    for _ in range(warm_up):
        action()
    seconds: list[float] = []
    cpu_seconds: list[float] = []
    for _ in range(repeats):
        _wait_for_gpu()
        start, cpu_start = time.perf_counter(), time.process_time()
        action()
        _wait_for_gpu()
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    return Timing(frames, tuple(seconds), tuple(cpu_seconds))


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _resident_bytes(field: str) -> int | None:
    """VmRSS, resident now, or VmHWM, at the peak; None where the kernel is not Linux."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    kibibytes = next(line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return 1024 * int(kibibytes)
