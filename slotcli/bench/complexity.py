"""The cost of a system on the present device: the paper's Table 4, a view of the other benches."""

from dataclasses import dataclass
from typing import Any

import torch

from slotcli.bench.forms import Variant
from slotcli.bench.inference import DRAWING
from slotcli.bench.own_process import in_own_process
from slotcli.bench.subject import Work, form_of, random_frames
from slotcli.bench.timing import Action, Timing, timed
from slotcli.bench.training import step_cost
from slotcli.bench.training_step import STATUS, count
from slotcli.decoders.token_transformer import TokenTransformer
from slotcli.spec import SlotModelSpec

VIDEOS, FRAMES_EACH = 100, 24  # as Table 4 reconstructs
_VARIANT = Variant("ours", "fp32")


@dataclass(frozen=True)
class DrawingWork:
    """Frames to encode and to render, each timed after `warm_up` untimed runs.

    `uncached` also times a token transformer that recomputes the whole prefix for every token.
    """

    encoded_frames: int
    drawn_frames: int
    warm_up: int
    uncached: bool


def complexity(spec: SlotModelSpec, work: Work, drawing: DrawingWork) -> dict[str, Any]:
    """The record of a system with random weights on random frames.

    Its times are of a training step, of encoding, and of rendering as `reconstruct` does by
    default; a None has its reason under the same name in `reasons`. Training and rendering are
    measured one after the other, each in a process of its own, so that neither includes the other's
    memory. Raises ConfigError for a spec that cannot be built.
    """
    counts, reasons = count(spec, work.clip_length), dict[str, str]()
    step, why = in_own_process(step_cost, (spec, work, _VARIANT))
    if step is None:
        reasons |= dict.fromkeys(("training_step", "training_step_peak_bytes"), why)
    elif step[1] is None:
        reasons["training_step_peak_bytes"] = f"This system has no {STATUS}."
    times, why = in_own_process(drawing_times, (spec, work, drawing))
    if times is None:
        reasons |= dict.fromkeys(("encode", "render", "reconstruction"), why)
        times = {}
    if spec.decoder.kind != "token_transformer":
        reasons["render_uncached"] = "This decoder has no cache."
    elif "render_uncached" not in times:
        unasked = "It takes minutes and was not asked for (--uncached)."
        reasons["render_uncached"] = why or unasked
    values = {name: timing.as_dict() for name, timing in times.items()}
    return {
        "name": spec.name,
        "decoder": spec.decoder.kind,
        "batch": work.batch,
        "clip_length": work.clip_length,
        "parameters": counts.parameters,
        "trainable_parameters": counts.trainable,
        "encode_flops_per_frame": counts.encode_flops,
        "training_step_flops_per_frame": counts.step_flops,
        "training_step": step and step[0].as_dict(),
        "training_step_peak_bytes": step and step[1],
        **{name: values.get(name) for name in ("encode", "render", "render_uncached")},
        "reconstruction": reconstruction(times["encode"], times["render"]) if times else None,
        "reasons": reasons,
    }


def reconstruction(encode: Timing, render: Timing) -> dict[str, Any]:
    """Seconds for VIDEOS videos of FRAMES_EACH frames, extrapolated from fewer frames."""
    frames = VIDEOS * FRAMES_EACH
    return {
        "videos": VIDEOS,
        "frames_each": FRAMES_EACH,
        "seconds": frames * (encode.per_frame + render.per_frame),
        "extrapolated_from_encoded_frames": encode.frames,
        "extrapolated_from_drawn_frames": render.frames,
        "drawn_frames_factor": frames / render.frames,
    }


@torch.inference_mode()
def drawing_times(job: tuple[SlotModelSpec, Work, DrawingWork]) -> dict[str, Timing]:
    """Encodes a clip and renders its frames from their slots, as the commands do."""
    spec, work, drawing = job
    device, subject = work.open(spec)
    model = form_of(subject.model, _VARIANT.form, device)
    # A system without a predictor is not recurrent: its frames are clips of one.
    single = spec.encoder.predictor is None
    clips, length = (drawing.encoded_frames, 1) if single else (1, drawing.encoded_frames)
    frames = random_frames(spec, clips, length).to(device)
    track = model.encode(frames)
    slots = track.slots.flatten(0, 1)
    rows = torch.arange(drawing.drawn_frames) % len(slots)
    chosen, seen, decoder = slots[rows], track.layout[rows], model.decoder

    def time(action: Action[object], frames: int) -> Timing:
        return timed(action, frames, work.rounds, drawing.warm_up)

    times = {
        "encode": time(lambda: model.encode(frames), drawing.encoded_frames),
        "render": time(lambda: decoder.render(chosen, DRAWING, seen), drawing.drawn_frames),
    }
    if drawing.uncached and isinstance(decoder, TokenTransformer):
        uncached = timed(lambda: decoder.generate(chosen[:1], cached=False), 1, 1, 0)
        times["render_uncached"] = uncached
    return times
