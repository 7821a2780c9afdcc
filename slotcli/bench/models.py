"""Times encoding, rendering and training in our form of a model and in the plain form."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch import device as Device

from slotcli.bench import plain_operations
from slotcli.bench.forms import BASELINE, Arm, Form
from slotcli.bench.plain_model import PlainDiffusion, plain
from slotcli.bench.timing import Timing, interleaved
from slotcli.build import build_model
from slotcli.checkpoint import WEIGHTS, find_definition, find_model, load_model
from slotcli.compute.compiler import compile_errors, first_line
from slotcli.compute.precision import cast_like, to_bf16
from slotcli.decoders.base import RenderOptions
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.definition import load_definition
from slotcli.errors import UsageError
from slotcli.evaluation.reconstruction import psnr
from slotcli.kernels import mask_argmax
from slotcli.model import SlotModel, normalise
from slotcli.spec import SlotModelSpec
from slotcli.types import Layout

CHUNK = 16  # frames per call, as in decompose and reconstruct

Result = TypeVar("Result")
Models = dict[Arm, SlotModel]
Tell = Callable[[str], None]  # called with each finished piece of work


@dataclass(frozen=True)
class Subject:
    """A model to measure; without `sha256` its weights are random."""

    spec: SlotModelSpec
    model: SlotModel
    sha256: str | None


@dataclass(frozen=True)
class Comparison:
    """The variants at one piece of work, and the differences of their results from plain fp32."""

    name: str
    frames: int
    timings: dict[Arm, Timing]
    figures: dict[Arm, dict[str, float]]
    reasons: dict[str, str]

    def ratio(self, arm: Arm, against: Arm) -> float | None:
        """The cost of a variant relative to another's; None where one did not run."""
        if arm not in self.timings or against not in self.timings:
            return None
        return self.timings[arm].cost / self.timings[against].cost

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values; variants that did not run are in `reasons`."""
        arms = {
            arm.name: {
                **timing.as_dict(),
                "frames_per_second": 1 / timing.per_frame,
                "to_plain_fp32": self.ratio(arm, BASELINE),
                "to_plain_same": self.ratio(arm, Arm("plain", arm.precision)),
                **self.figures[arm],
            }
            for arm, timing in self.timings.items()
        }
        return {"name": self.name, "frames": self.frames, "arms": arms, "reasons": self.reasons}


def open_subject(reference: str) -> Subject:
    """A slot model with its weights, or with random ones if it has none.

    Random weights include those of layers initialised to zero, which would hide all layers before
    them. Raises as `load_model` and `load_definition`, UsageError for a codec.
    """
    path = find_model(reference)
    if (path / WEIGHTS).is_file() or (path.is_file() and path.suffix != ".toml"):
        loaded = load_model(reference)
        spec, model = loaded.slot_model()
        return Subject(spec, model, loaded.sha256)
    spec = load_definition(find_definition(reference))
    if not isinstance(spec, SlotModelSpec):
        raise UsageError(f"{reference}: is a codec, not a slot model.", "Choose a slot model.")
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


def forms_of(
    model: SlotModel,
    arms: list[Arm],
    device: Device,
    networks: Callable[[SlotModel], list[nn.Module]],
) -> Models:
    """A copy of the model per variant; at bf16 its `networks` are cast, or they are compiled."""
    models: Models = {}
    for arm in arms:
        own = models[arm] = form_of(model, arm.form, device)
        if arm.precision == "bf16":
            to_bf16(*networks(own))
        if arm.form == "compiled":
            for network in networks(own):
                network.compile()
    return models


@torch.no_grad()
def bench_encode(
    subject: Subject, arms: list[Arm], device: Device, *, frames: int, rounds: int, tell: Tell
) -> Comparison:
    """Encodes a clip of random frames to slots and soft masks, in chunks as decompose does."""
    models = forms_of(subject.model, arms, device, lambda model: [model.encoder.backbone])
    clip = random_frames(subject.spec, 1, frames).to(device)

    def encode(model: SlotModel) -> tuple[Tensor, Tensor]:
        state, found = None, []
        for chunk in clip.split(CHUNK, dim=1):
            track = model.encode(chunk, state)
            state = track.slots[:, -1]
            found.append((track.slots[0], model.soft_masks(track)[0]))
        slots, shares = zip(*found, strict=True)
        return torch.cat(slots), torch.cat(shares)

    def figures(found: tuple[Tensor, Tensor], plain: tuple[Tensor, Tensor]) -> dict[str, float]:
        labels = mask_argmax(found[1], subject.spec.size)
        other = plain_operations.mask_argmax(plain[1], subject.spec.size)
        changed = (labels.long() != other).double().mean().item()
        return {"slots_error": _relative(found[0], plain[0]), "mask_pixels_changed": changed}

    return _compare(f"encode {frames} frames", frames, models, encode, figures, rounds, tell)


@torch.no_grad()
def bench_draw(
    subject: Subject, arms: list[Arm], device: Device, *, frames: int, rounds: int, tell: Tell
) -> list[Comparison]:
    """One function evaluation of the U-Net on 8 frames; then one frame and a clip from slots."""
    models = forms_of(subject.model, arms, device, lambda model: model.decoder.networks)
    count = max(frames, 8)
    track = models[BASELINE].encoder(normalise(random_frames(subject.spec, 1, count).to(device)))
    slots, seen = track.slots[0], track.layout

    def draw(drawn: int, model: SlotModel) -> Tensor:
        parts = [slice(at, min(at + CHUNK, drawn)) for at in range(0, drawn, CHUNK)]
        return torch.cat(
            [model.decoder.render(slots[p], RenderOptions(evaluations=20), seen[p]) for p in parts]
        )

    def pictures(found: Tensor, plain: Tensor) -> dict[str, float]:
        return {"psnr_db": psnr((plain.float() + 1) / 2, (found.float() + 1) / 2)}

    found = []
    if isinstance(subject.model.decoder, LatentDiffusion):
        calls = {
            arm: _evaluation(model.decoder, slots[:8], seen[:8]) for arm, model in models.items()
        }
        found.append(
            _compare(
                "U-Net forward, 8 frames",
                8,
                calls,
                lambda call: call(),
                lambda own, plain: {"prediction_error": _relative(own, plain)},
                rounds,
                tell,
            )
        )
    for number in dict.fromkeys((1, frames)):
        name = f"draw {number} frame{'s' if number > 1 else ''}"
        act = partial(draw, number)
        found.append(_compare(name, number, models, act, pictures, rounds, tell))
    return found


def random_frames(
    spec: SlotModelSpec, clips: int, length: int
) -> UInt8[Tensor, "{clips} {length} 3 h w"]:
    """Frames of noise, the same at every call."""
    shape = (clips, length, 3, *spec.size)
    rng = torch.Generator().manual_seed(0)
    return torch.randint(256, shape, dtype=torch.uint8, generator=rng)


def _evaluation(
    decoder: nn.Module, slots: Float[Tensor, "b n d"], seen: Layout
) -> Callable[[], Tensor]:
    """The U-Net on noise, with the form's preparation of the slots done once before."""
    assert isinstance(decoder, LatentDiffusion | PlainDiffusion)
    rng = torch.Generator().manual_seed(0)
    noisy = torch.randn(len(slots), *decoder.latent_shape, generator=rng).to(slots)
    noisy, step = cast_like(decoder.unet, noisy), torch.full((len(slots),), 500.0).to(slots)
    if isinstance(decoder, PlainDiffusion):
        read = decoder.vectors(slots, seen)
        return lambda: decoder.predict(noisy, step, *read)
    context, maps = decoder.context(slots, seen, decoder.condition.grid)
    return lambda: decoder.predict(noisy, step, context, maps)


def _compare(
    name: str,
    frames: int,
    subjects: dict[Arm, Any],
    act: Callable[[Any], Result],
    figures: Callable[[Result, Result], dict[str, float]],
    rounds: int,
    tell: Tell,
) -> Comparison:
    """Runs the work once per variant, which warms it up, then in timed rounds."""
    found: dict[Arm, Result] = {}
    reasons = {}
    for arm, subject in subjects.items():
        try:
            found[arm] = act(subject)
        except compile_errors() as error:
            reasons[arm.name] = first_line(error)
        tell(f"{name}, {arm.name}")

    def again(arm: Arm) -> None:
        act(subjects[arm])
        tell(f"{name}, {arm.name}")

    timings = interleaved(
        {arm.name: partial(again, arm) for arm in found},
        frames=frames,
        rounds=rounds,
        warm_up=0,
    )
    return Comparison(
        name=name,
        frames=frames,
        timings={arm: timings[arm.name] for arm in found},
        figures={arm: figures(own, found[BASELINE]) for arm, own in found.items()},
        reasons=reasons,
    )


def _relative(found: Tensor, plain: Tensor) -> float:
    found, plain = found.double(), plain.double()
    distance = torch.linalg.vector_norm(found - plain) / torch.linalg.vector_norm(plain)
    return distance.nan_to_num(torch.inf).item()
